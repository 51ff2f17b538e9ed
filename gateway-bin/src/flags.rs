//! Types of command-line values.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use towergate_core::plan::BackendId;
use towergate_k8s::ObjectKey;
use towergate_policy::envoy_proxy::LogLine;

/// The format of the access log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum AccessLogFormat {
    /// Envoy Gateway's JSON object.
    Json,
    /// Envoy's line of text.
    Text,
    /// A format with operators.
    Custom(LogLine),
}

impl FromStr for AccessLogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            text if text.contains('%') || text.starts_with('{') => text.parse().map(Self::Custom),
            _ => Err("expected json, text, or a format with operators".to_owned()),
        }
    }
}

/// A port of the Gateways and the port that is bound instead, such as `80=8080`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PortMap {
    /// The port of the Gateways.
    pub(crate) port: u16,
    /// The port to bind.
    pub(crate) bound: u16,
}

impl FromStr for PortMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |port: &str| port.parse().ok().filter(|port| *port != 0);
        text.split_once('=')
            .and_then(|(port, bound)| {
                Some(Self {
                    port: parse(port)?,
                    bound: parse(bound)?,
                })
            })
            .ok_or_else(|| "expected PORT=BOUND, such as 80=8080".to_owned())
    }
}

/// An address to bind, for all Gateways (`127.0.0.1`) or for one Gateway (`edge/public=192.0.2.1`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Bind {
    /// `namespace/name` of the Gateway. `None`: all Gateways without their own address.
    pub(crate) gateway: Option<String>,
    /// The address.
    pub(crate) address: IpAddr,
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (gateway, address) = match text.split_once('=') {
            Some((gateway, address)) => (Some(gateway), address),
            None => (None, text),
        };
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let address = address
            .parse()
            .map_err(|_| format!("`{address}` is not an IP address"))?;
        if let Some(name) = gateway
            && name_parts(name).is_none()
        {
            return Err(format!("`{name}` is not NAMESPACE/NAME of a Gateway"));
        }
        Ok(Self {
            gateway: gateway.map(str::to_owned),
            address,
        })
    }
}

/// Namespace and name of a Secret, such as `towergate-system/sessions`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SecretName(pub(crate) ObjectKey);

impl FromStr for SecretName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) = name_parts(text)
            .ok_or_else(|| format!("`{text}` is not NAMESPACE/NAME of a Secret"))?;
        Ok(Self(ObjectKey::new(namespace, name)))
    }
}

/// The endpoint of a Service port, such as `team-a/echo:80=127.0.0.1:9000`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct EndpointOverride {
    /// The port of the Service.
    pub(crate) backend: BackendId,
    /// The address of the endpoint.
    pub(crate) address: SocketAddr,
}

impl FromStr for EndpointOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (service, address) = text.split_once('=')?;
            let (name, port) = service.rsplit_once(':')?;
            let (namespace, name) = name_parts(name)?;
            let backend = BackendId::service(namespace, name, port.parse().ok()?);
            Some(Self {
                backend,
                address: address.parse().ok()?,
            })
        };
        parse().ok_or_else(|| {
            "expected NAMESPACE/SERVICE:PORT=ADDR:PORT, such as team-a/echo:80=127.0.0.1:9000"
                .to_owned()
        })
    }
}

/// The address of a controller, such as `https://controller.example:18000`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ControllerAddress {
    /// DNS name or IP address.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: u16,
}

impl std::fmt::Display for ControllerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "https://[{}]:{}", self.host, self.port),
            false => write!(f, "https://{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for ControllerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let uri = text.parse::<http::Uri>().ok()?;
            let https = uri.scheme_str() == Some("https") && matches!(uri.path(), "" | "/");
            let authority = uri.authority()?.as_str();
            if !https || uri.query().is_some() || authority.contains('@') {
                return None;
            }
            let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
            Some(Self {
                host: host.to_owned(),
                port: uri.port_u16().filter(|port| *port != 0)?,
            })
        };
        parse().ok_or_else(|| "expected https://HOST:PORT".to_owned())
    }
}

/// Splits `namespace/name`.
pub(crate) fn name_parts(text: &str) -> Option<(&str, &str)> {
    let (namespace, name) = text.split_once('/')?;
    let valid = |part: &str| !part.is_empty() && !part.contains('/');
    (valid(namespace) && valid(name)).then_some((namespace, name))
}

/// A value, or `off`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OffOr<T> {
    /// `off`.
    Off,
    /// The value.
    On(T),
}

impl<T: FromStr<Err: std::fmt::Display>> FromStr for OffOr<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse()
            .map(Self::On)
            .map_err(|error| error.to_string())
    }
}

/// A duration such as `30s`, `500ms`, `2m` or `1h`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Seconds(pub(crate) Duration);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 3600 * 1000,
            _ => 0,
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(millis))
            .filter(|_| millis > 0)
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(|| "expected a duration such as 30s, 500ms, 2m or 1h".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        let parse = |text: &str| text.parse::<Seconds>().ok().map(|s| s.0.as_millis());

        assert_eq!(parse("30s"), Some(30_000));
        assert_eq!(parse("500ms"), Some(500));
        assert_eq!(parse("2m"), Some(120_000));
        assert_eq!(parse("1h"), Some(3_600_000));
        for bad in ["", "30", "s", "-1s", "1d", "99999999999999999999s", "1.5s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_address_applies_to_one_gateway_or_to_all() {
        let bind = |text: &str| text.parse::<Bind>();

        assert_eq!(bind("::1").expect("a valid value").gateway, None);
        assert_eq!(
            bind("[::1]").expect("a valid value").address,
            bind("::1").expect("a valid value").address
        );
        assert_eq!(
            bind("a/b=10.0.0.1")
                .expect("a valid value")
                .gateway
                .as_deref(),
            Some("a/b")
        );
        assert!(bind("b=10.0.0.1").is_err());
        assert!(bind("a/b=x").is_err());
    }

    #[test]
    fn an_endpoint_names_a_service_port() {
        let parsed: EndpointOverride = "team-a/echo:80=[::1]:9000".parse().expect("a valid value");

        assert_eq!(parsed.backend.to_string(), "Service/team-a/echo:80");
        assert!(parsed.address.is_ipv6());
        for bad in [
            "echo:80=127.0.0.1:1",
            "a/b=127.0.0.1:1",
            "a/b:x=127.0.0.1:1",
            "a/b:80=127.0.0.1",
            "a/b:80",
        ] {
            assert!(bad.parse::<EndpointOverride>().is_err(), "{bad}");
        }
    }

    #[test]
    fn off_turns_a_feature_off_and_anything_else_is_a_value() {
        assert_eq!("off".parse::<OffOr<SocketAddr>>(), Ok(OffOr::Off));
        assert_eq!(
            "127.0.0.1:1".parse::<OffOr<SocketAddr>>(),
            Ok(OffOr::On(([127, 0, 0, 1], 1).into()))
        );
        assert!("x".parse::<OffOr<SocketAddr>>().is_err());
    }
}

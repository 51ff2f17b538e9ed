//! Statuses of redirects.

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// Status of a redirect.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum RedirectStatus {
    /// 301.
    MovedPermanently,
    /// 302, the default of Gateway API.
    #[default]
    Found,
    /// 303.
    SeeOther,
    /// 307.
    TemporaryRedirect,
    /// 308.
    PermanentRedirect,
}

/// Error: the number is not the status of a redirect.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} is not the status of a redirect; use 301, 302, 303, 307 or 308")]
pub struct InvalidRedirectStatus(u16);

impl RedirectStatus {
    /// The status code.
    pub fn code(self) -> StatusCode {
        match self {
            Self::MovedPermanently => StatusCode::MOVED_PERMANENTLY,
            Self::Found => StatusCode::FOUND,
            Self::SeeOther => StatusCode::SEE_OTHER,
            Self::TemporaryRedirect => StatusCode::TEMPORARY_REDIRECT,
            Self::PermanentRedirect => StatusCode::PERMANENT_REDIRECT,
        }
    }
}

impl From<RedirectStatus> for u16 {
    fn from(status: RedirectStatus) -> Self {
        status.code().as_u16()
    }
}

impl TryFrom<u16> for RedirectStatus {
    type Error = InvalidRedirectStatus;

    fn try_from(number: u16) -> Result<Self, InvalidRedirectStatus> {
        match number {
            301 => Ok(Self::MovedPermanently),
            302 => Ok(Self::Found),
            303 => Ok(Self::SeeOther),
            307 => Ok(Self::TemporaryRedirect),
            308 => Ok(Self::PermanentRedirect),
            other => Err(InvalidRedirectStatus(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_numbers_are_statuses_of_redirects() {
        let is_status = |number: &u16| {
            let status = RedirectStatus::try_from(*number);
            status.is_ok_and(|status| u16::from(status) == *number)
        };

        let valid: Vec<u16> = (100..600).filter(is_status).collect();

        assert_eq!(valid, [301, 302, 303, 307, 308]);
    }
}

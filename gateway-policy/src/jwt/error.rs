//! The reason why the token of a request is rejected.

use http::StatusCode;

/// The reason why a token is rejected. The messages are those of Envoy's JWT filter.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// The sources of the policy contain no token.
    #[error("Jwt is missing")]
    Missing,
    /// The token does not have three parts, separated by dots.
    #[error("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")]
    BadFormat,
    /// The header is not base64url.
    #[error("Jwt header is an invalid Base64url encoded")]
    BadHeaderEncoding,
    /// The header is not a JSON object, or a member name occurs twice.
    #[error("Jwt header is an invalid JSON")]
    BadHeader,
    /// The header has no `alg`.
    #[error("Jwt header [alg] field is required and must be a string")]
    NoAlgorithm,
    /// The algorithm is not supported. `none` is never supported.
    #[error("Jwt header [alg] is not supported")]
    UnsupportedAlgorithm,
    /// `kid` is not a string.
    #[error("Jwt header [kid] field is not a string")]
    BadKeyId,
    /// The header has critical parameters (RFC 7515, section 4.1.11). None is supported.
    #[error("Jwt header [crit] names extensions that are not supported")]
    CriticalHeader,
    /// The claims are not base64url.
    #[error("Jwt payload is an invalid Base64url encoded")]
    BadClaimsEncoding,
    /// The claims are not a JSON object, or a member name occurs twice.
    #[error("Jwt payload is an invalid JSON")]
    BadClaims,
    /// A registered claim is not a string.
    #[error("Jwt payload [{0}] field is not a string")]
    ClaimNotString(&'static str),
    /// A time is not an integer.
    #[error("Jwt payload [{0}] field is not an integer")]
    ClaimNotInteger(&'static str),
    /// A time is negative or too large.
    #[error("Jwt payload [{0}] field is not a positive 64 bit integer")]
    ClaimOutOfRange(&'static str),
    /// `aud` is neither a string nor a list of strings.
    #[error("Jwt payload [aud] field is not a string or string list")]
    BadAudience,
    /// The signature is not base64url.
    #[error("Jwt signature is an invalid Base64url encoded")]
    BadSignatureEncoding,
    /// The issuer is not that of the provider.
    #[error("Jwt issuer is not configured")]
    UnknownIssuer,
    /// The token has expired.
    #[error("Jwt is expired")]
    Expired,
    /// The token is not valid yet.
    #[error("Jwt not yet valid")]
    NotYetValid,
    /// The token has another audience.
    #[error("Audiences in Jwt are not allowed")]
    WrongAudience,
    /// The token is longer than [`MAX_TOKEN_LENGTH`](super::MAX_TOKEN_LENGTH).
    #[error("Jwt is too long")]
    TooLong,
    /// The keys could not be fetched.
    #[error("Jwks remote fetch is failed")]
    KeysUnavailable,
    /// No key of the set matches `kid` and `alg`.
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    NoKey,
    /// No matching key verifies the signature.
    #[error("Jwt verification fails")]
    BadSignature,
}

impl JwtError {
    /// The status of the response.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::WrongAudience => StatusCode::FORBIDDEN,
            Self::Missing
            | Self::BadFormat
            | Self::BadHeaderEncoding
            | Self::BadHeader
            | Self::NoAlgorithm
            | Self::UnsupportedAlgorithm
            | Self::BadKeyId
            | Self::CriticalHeader
            | Self::BadClaimsEncoding
            | Self::BadClaims
            | Self::ClaimNotString(_)
            | Self::ClaimNotInteger(_)
            | Self::ClaimOutOfRange(_)
            | Self::BadAudience
            | Self::BadSignatureEncoding
            | Self::UnknownIssuer
            | Self::Expired
            | Self::NotYetValid
            | Self::TooLong
            | Self::KeysUnavailable
            | Self::NoKey
            | Self::BadSignature => StatusCode::UNAUTHORIZED,
        }
    }

    /// The rank of an error. If several providers fail, the error with the highest rank is sent. An invalid
    /// token of the right issuer ranks highest, then a token of another issuer, then a missing token.
    pub(super) const fn rank(self) -> u8 {
        match self {
            Self::Missing => 0,
            Self::UnknownIssuer => 1,
            Self::BadFormat
            | Self::BadHeaderEncoding
            | Self::BadHeader
            | Self::NoAlgorithm
            | Self::UnsupportedAlgorithm
            | Self::BadKeyId
            | Self::CriticalHeader
            | Self::BadClaimsEncoding
            | Self::BadClaims
            | Self::ClaimNotString(_)
            | Self::ClaimNotInteger(_)
            | Self::ClaimOutOfRange(_)
            | Self::BadAudience
            | Self::BadSignatureEncoding
            | Self::Expired
            | Self::NotYetValid
            | Self::WrongAudience
            | Self::TooLong
            | Self::KeysUnavailable
            | Self::NoKey
            | Self::BadSignature => 2,
        }
    }
}

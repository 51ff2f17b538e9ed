//! A PROXY header reads the same however it arrives, nothing more is asked for than it needs, and what
//! it says can be written and read again.

use towergate_core::proxy_protocol::{
    Command, DEFAULT_LIMIT, Decoded, Error, Tlv, decode, encode_v2,
};

/// Input: what a connection begins with.
pub fn check(bytes: &[u8]) {
    let whole = decode(bytes, DEFAULT_LIMIT);
    for cut in 0..bytes.len().min(256) {
        match decode(&bytes[..cut], DEFAULT_LIMIT) {
            Err(Error::Incomplete { needed }) => {
                assert!(needed > 0);
                assert!(!matches!(whole, Ok(Decoded { len, .. }) if cut + needed > len));
            }
            Err(Error::Invalid(_)) => assert!(matches!(whole, Err(Error::Invalid(_)))),
            part => assert_eq!(part, whole),
        }
    }
    if let Ok(Decoded { header, .. }) = whole
        && let Command::Proxy(transport, addresses) = header.command
    {
        let tlvs: Vec<Tlv<'_>> = header.tlvs.iter().collect();
        let mut again = Vec::new();
        // A checksum may be one field more than the limit has room for.
        encode_v2(Some((transport, addresses)), &tlvs, true, &mut again).expect("it did fit");
        let again = decode(&again, u16::MAX).expect("what we write is valid");
        assert_eq!(again.header.command, header.command);
    }
}

//! Decoding a PROXY header yields the same value for any segmentation. `needed` never exceeds the number of
//! missing bytes. Encoding and decoding the header again yields the same command.

use towergate_core::proxy_protocol::{
    Command, DEFAULT_LIMIT, Decoded, Error, Tlv, decode, encode_v2,
};

/// Input: the first bytes of a connection.
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
        // The second decoding has a larger limit, because the added checksum may make the header longer than
        // `DEFAULT_LIMIT`.
        encode_v2(Some((transport, addresses)), &tlvs, true, &mut again).expect("it did fit");
        let again = decode(&again, u16::MAX).expect("what we write is valid");
        assert_eq!(again.header.command, header.command);
    }
}

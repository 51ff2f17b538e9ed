//! CRC-32C (Castagnoli) with a table of 256 entries. A faster algorithm is unnecessary, because headers are
//! short and are sent once per connection.

/// Polynomial, with reversed bits.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// Register value after eight shifts, indexed by the low byte of the register.
const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 1 == 1 {
                rest >> 1 ^ POLYNOMIAL
            } else {
                rest >> 1
            };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
}

/// Initial value of the register.
pub(super) const START: u32 = !0;

/// Updates the register with `bytes`.
pub(super) fn update(register: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(register, |register, &byte| {
        register >> 8 ^ TABLE[usize::from(register as u8 ^ byte)]
    })
}

/// The checksum that follows from the final register value.
pub(super) fn finish(register: u32) -> u32 {
    !register
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test vectors of RFC 3720, appendix B.4, and the check value for `123456789`.
    #[test]
    fn sums_are_those_of_the_rfc() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        let sum = |bytes: &[u8]| finish(update(START, bytes));

        assert_eq!(sum(&[0; 32]), 0x8A91_36AA);
        assert_eq!(sum(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(sum(&ascending), 0x46DD_794E);
        assert_eq!(sum(&descending), 0x113F_DB5C);
        assert_eq!(sum(b"123456789"), 0xE306_9283);
        assert_eq!(sum(b""), 0);
    }
}

//! The seal of a line: a checksum as the last field of the entry, so that a line of which a byte was lost or turned over is known
//! for what it is, and every tool that reads JSON still reads the file.

/// What stands before the checksum, and what after it.
const HEAD: &[u8] = b",\"crc32\":\"";
const TAIL: &[u8] = b"\"}";
/// The digits of the checksum.
const DIGITS: usize = 8;

/// An entry's JSON object as a line, with its end.
pub(super) fn sealed(json: &str) -> Vec<u8> {
    let body = json.strip_suffix('}').unwrap_or(json).as_bytes();
    let digits = format!("{:08x}", crc32(body));
    [body, HEAD, digits.as_bytes(), TAIL, b"\n"].concat()
}

/// The entry's JSON object in a line, if the line is whole and as it was written.
pub(super) fn opened(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.strip_suffix(b"\n")?.strip_suffix(TAIL)?;
    let (line, digits) = line.split_at_checked(line.len().checked_sub(DIGITS)?)?;
    let body = line.strip_suffix(HEAD)?;
    let wanted = format!("{:08x}", crc32(body));
    (digits == wanted.as_bytes()).then(|| [body, b"}"].concat())
}

/// The checksum of zip files and Ethernet frames: it finds every change of up to 32 bits in a row.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let at = (crc ^ u32::from(*byte)) & 0xff;
        let known = usize::try_from(at).ok().and_then(|at| TABLE.get(at));
        known.copied().unwrap_or_default() ^ (crc >> 8)
    };
    !bytes.iter().fold(!0, step)
}

/// What each byte does to the checksum, for the polynomial 0xEDB88320.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    let mut crc = 0_u32;
    while byte < table.len() {
        let mut bit = 0;
        let mut value = crc;
        while bit < 8 {
            let odd = value & 1 == 1;
            value >>= 1;
            if odd {
                value ^= 0xedb8_8320;
            }
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
        crc += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_that_everybody_knows() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_line_is_opened_again_and_is_json_all_the_while() {
        let line = sealed(r#"{"a":1,"b":{}}"#);
        let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(read["b"], serde_json::json!({}));
        assert_eq!(opened(&line).unwrap(), br#"{"a":1,"b":{}}"#);
    }

    #[test]
    fn no_turned_bit_and_no_cut_goes_unseen() {
        let line = sealed(r#"{"generation":7,"text":"Tries workers 4 -> 8"}"#);
        for at in 0..line.len() {
            assert_eq!(opened(&line[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut turned = line.clone();
                turned[at] ^= 1 << bit;
                assert_eq!(opened(&turned), None, "bit {bit} of {at}");
            }
        }
    }
}

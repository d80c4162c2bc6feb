//! Parameters of a query: `name=value&…`, percent-encoded (WHATWG URL, section 5.1).

use std::borrow::Cow;

use super::Refused;

/// Value of the first parameter called `name`, decoded: `%XX` is a byte, `+` a blank. Names are
/// compared as they stand, undecoded. A parameter without `=` is empty.
///
/// # Errors
/// 400 if what is decoded is no UTF-8, or a percent sign is not followed by two digits.
pub fn parameter<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, Refused> {
    let found = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find_map(|(key, value)| (key == name).then_some(value));
    found.map(decode).transpose()
}

/// Decodes one value; borrows if there is nothing to decode.
///
/// # Errors
/// As [`parameter`].
pub fn decode(value: &str) -> Result<Cow<'_, str>, Refused> {
    const WRONG: Refused =
        Refused { status: 400, text: "a parameter's percent-encoding is wrong or no UTF-8" };
    if !value.contains(['%', '+']) {
        return Ok(Cow::Borrowed(value));
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (digits, behind) = rest.split_first_chunk::<2>().ok_or(WRONG)?;
                rest = behind;
                nibble(digits[0]).ok_or(WRONG)? << 4 | nibble(digits[1]).ok_or(WRONG)?
            }
            plain => plain,
        });
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| WRONG)
}

fn nibble(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_and_decoded() {
        let query = "cursor=5&token=a%2Bb+c%C3%A9&flag&cursor=6";
        let text = |name| parameter(query, name).unwrap().map(Cow::into_owned);
        assert_eq!(text("cursor").as_deref(), Some("5"));
        assert_eq!(text("token").as_deref(), Some("a+b c\u{e9}"));
        assert_eq!(text("flag").as_deref(), Some(""));
        assert_eq!(text("toke"), None);
        assert_eq!(parameter("", "x").unwrap(), None);
    }

    #[test]
    fn wrong_encoding_is_refused() {
        for wrong in ["x=%", "x=%4", "x=%4g", "x=%ff", "x=%+1"] {
            assert_eq!(parameter(wrong, "x").unwrap_err().status, 400, "{wrong}");
        }
    }
}

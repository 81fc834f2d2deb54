//! Texts that are judged or written at every request.

/// Whether `fits` holds for all bytes. Looks at each whatever it finds, many at a time: most texts fit.
#[must_use]
pub fn all(bytes: &[u8], fits: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |so_far, byte| so_far & fits(*byte))
}

/// Appends a number in decimal: without the formatter's options, in a tenth of its time.
pub fn push_number(out: &mut String, number: impl itoa::Integer) {
    out.push_str(itoa::Buffer::new().format(number));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_does_not_fit_is_found_wherever_it_stands() {
        assert!(all(b"", |b| b.is_ascii_alphanumeric()) && all(&[b'a'; 100], |b| b.is_ascii_alphanumeric()));
        for at in 0..100 {
            let mut text = [b'a'; 100];
            text[at] = b'-';
            assert!(!all(&text, |b| b.is_ascii_alphanumeric()), "{at}");
        }
    }

    #[test]
    fn numbers_come_out_as_the_formatter_writes_them() {
        for number in [0_u64, 1, 9, 10, 99, 100, 1_234_567_890, u64::MAX - 1, u64::MAX] {
            let mut out = String::from("n=");
            push_number(&mut out, number);
            assert_eq!(out, format!("n={number}"));
        }
        for number in [0_i64, -1, 7, -1_234_567_890, i64::MIN, i64::MAX] {
            let mut out = String::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string());
        }
    }
}

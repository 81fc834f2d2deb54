//! base64 by vector instructions where the processor has them, for what is long and comes with every request. The rest
//! of edi takes the engines of the crate as they are.

use std::sync::LazyLock;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use base64::engine::Simd as Fast;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use base64::engine::general_purpose::GeneralPurpose as Fast;
use base64::engine::general_purpose::{NO_PAD, PAD};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static ENGINES: LazyLock<[Fast; 2]> = LazyLock::new(|| [Fast::standard(PAD), Fast::url_safe(NO_PAD)]);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static ENGINES: LazyLock<[Fast; 2]> =
    LazyLock::new(|| [Fast::new(&base64::alphabet::STANDARD, PAD), Fast::new(&base64::alphabet::URL_SAFE, NO_PAD)]);

/// As `STANDARD`.
#[must_use]
pub fn standard() -> &'static Fast {
    let [standard, _] = &*ENGINES;
    standard
}

/// As `URL_SAFE_NO_PAD`.
#[must_use]
pub fn url_safe_no_pad() -> &'static Fast {
    let [_, url_safe] = &*ENGINES;
    url_safe
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_do_what_the_plain_ones_do(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            text in "[A-Za-z0-9+/_-]{0,300}[A-Za-z0-9+/=._-]{0,4}",
        ) {
            prop_assert_eq!(standard().encode(&bytes), STANDARD.encode(&bytes));
            prop_assert_eq!(url_safe_no_pad().encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes));
            prop_assert_eq!(standard().decode(STANDARD.encode(&bytes)), Ok(bytes.clone()));
            prop_assert_eq!(url_safe_no_pad().decode(URL_SAFE_NO_PAD.encode(&bytes)), Ok(bytes));
            prop_assert_eq!(standard().decode(&text), STANDARD.decode(&text));
            prop_assert_eq!(url_safe_no_pad().decode(&text), URL_SAFE_NO_PAD.decode(&text));
        }
    }
}

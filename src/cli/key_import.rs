//! `edi key import`: taking over a private key that signed elsewhere.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args as ClapArgs;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::api::{Api, ApiFlags, Needs};
use super::input::secret_from_stdin;
use super::output::printable;
use super::{Exit, Failure, Output, parse, view};
use crate::keys::private_file;
use crate::model::algorithm::Algorithm;
use crate::model::id::Kid;
use crate::model::scope::AdminScope;

const WRITE: Needs = &[AdminScope::Admin];

/// Take over a private key that signed elsewhere, so that an issuer can move in unnoticed.
///
/// The key signs from now on, as verifiers know it already; the key that signed until now stays trusted until its tokens
/// have expired. With --verify-only it never signs here and is published until its own tokens have expired. It is sealed
/// at once, and rotates and retires like any other. PKCS#8, SEC1 and PKCS#1 in PEM, PKCS#8 in DER, and JWK.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  edi key import old-issuer.pem --kid 2024-key
  jq '.keys[0]' private.jwks.json | edi key import -
  edi key import former.jwk --verify-only --lifetime 12h")]
pub(super) struct Args {
    /// The file, or - for standard input
    file: PathBuf,
    /// The id that verifiers know it by [default: the JWK's own, else its RFC 7638 thumbprint]
    #[arg(long, allow_hyphen_values = true)]
    kid: Option<Kid>,
    /// What it signs with [default: what it is for; RSA: RS256]
    #[arg(long, value_name = "ALG")]
    alg: Option<Algorithm>,
    /// Publish it for verification alone
    #[arg(long)]
    verify_only: bool,
    /// The longest lifetime of the tokens that it signed elsewhere [default: tokens.max_ttl]
    #[arg(long, value_name = "SPAN", value_parser = parse::lifetime)]
    lifetime: Option<u32>,
    #[command(flatten)]
    api: ApiFlags,
}

/// Does it.
pub(super) async fn run(it: Args, output: Output) -> Result<(), Failure> {
    let mut body = Map::new();
    body.insert("key".into(), read(&it)?);
    body.extend(it.kid.map(|kid| ("kid".to_owned(), json!(kid))));
    body.extend(it.alg.map(|alg| ("algorithm".to_owned(), json!(alg))));
    body.extend(it.lifetime.map(|seconds| ("lifetime".to_owned(), json!(seconds))));
    if it.verify_only {
        body.insert("verify_only".into(), true.into());
    }
    let done = Api::new(&it.api, WRITE)?.post(&["keys"], &body.into()).await?;
    if output.json {
        return output.json(&done);
    }
    let text = |key: &str| printable(&view::text(&done, key));
    let (kid, algorithm) = (text("kid"), text("algorithm"));
    if it.verify_only {
        let until = text("unpublished_at");
        return output.line(format!("{} {algorithm} {kid} is published until {until}", output.good("imported:")));
    }
    output.line(format!("{} {algorithm} {kid} signs from {}", output.good("imported:"), text("signs_from")))?;
    if done.get("old").is_some() {
        output.line(format!("{} stays trusted until {}", text("old"), text("old_trusted_until")))?;
    }
    if done.get("called_off").is_some() {
        output.note(format!("the planned turn of {} is off; it is a standby again", text("called_off")));
    }
    output.note("wherever else this key is, destroy it there once nothing signs with it any more");
    Ok(())
}

fn read(it: &Args) -> Result<Value, Failure> {
    if it.file.as_os_str() == "-" {
        return Ok(secret_from_stdin("private key")?.expose().into());
    }
    let bytes = private_file::read(&it.file).map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
    if let Some(pem) = pem_of_der(&bytes) {
        return Ok(pem.as_str().into());
    }
    let text = Zeroizing::new(String::from_utf8(bytes.to_vec()).unwrap_or_default());
    if text.trim().is_empty() {
        return Err(Failure::new(
            Exit::Data,
            format!("{} holds no key: expected PEM, a JWK, or PKCS#8 in DER", it.file.display()),
        ));
    }
    Ok(text.as_str().into())
}

/// PKCS#8 in DER, as the PEM that the server takes.
fn pem_of_der(bytes: &[u8]) -> Option<Zeroizing<String>> {
    // A sequence that begins with a version, 0 or 1 (RFC 5958 §2), and is no text.
    let inside = match bytes {
        [0x30, short, rest @ ..] if *short < 0x80 => rest,
        [0x30, 0x81, _, rest @ ..] | [0x30, 0x82, _, _, rest @ ..] => rest,
        _ => return None,
    };
    if !matches!(inside, [2, 1, 0 | 1, 0x30, ..]) {
        return None;
    }
    let body = Zeroizing::new(STANDARD.encode(bytes));
    Some(Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *body)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;
    use crate::keys::generate::NewKey;
    use crate::keys::import;

    #[test]
    fn a_pkcs8_file_in_der_is_read_like_its_pem() {
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
            let made = NewKey::generate(algorithm, &*SeededEntropy::new(7)).unwrap();
            let pem = pem_of_der(&made.pkcs8).unwrap();
            assert_eq!(import::read(&pem, None, None).unwrap().kid, made.kid, "{algorithm}");
        }
        for other in
            [&b"-----BEGIN PRIVATE KEY-----"[..], b"{\"kty\":\"EC\"}", b"", b"0", &[0x30, 3, 2, 1, 0], &[0x30, 0x82, 1]]
        {
            assert!(pem_of_der(other).is_none(), "{other:?}");
        }
    }
}

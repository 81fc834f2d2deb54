//! Names that Kubernetes takes (RFC 1123 labels), made of deployment ids.

use ring::digest;

use super::site::Guarded;

/// Reads a namespace.
pub(super) fn namespace(text: &str) -> Result<String, &'static str> {
    if is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("a namespace has 1 to 63 lower-case letters, digits and hyphens, and starts and ends with no hyphen")
    }
}

/// A resource name for a deployment: its id where that is one, else made of it, with a part of its hash so that two
/// ids never share a name.
pub(super) fn name(deployment: &Guarded) -> String {
    let id = deployment.id.as_str();
    if is_label(id) {
        return id.to_owned();
    }
    let plain = |b: u8| if b.is_ascii_alphanumeric() { char::from(b.to_ascii_lowercase()) } else { '-' };
    let stem: String = id.bytes().take(50).map(plain).collect();
    let hash = digest::digest(&digest::SHA256, id.as_bytes());
    let tail: String = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{tail}", stem.trim_end_matches('-'))
}

/// The service that a route leads to, and its port: the first label of the upstream, or the deployment's own name.
pub(super) fn service(deployment: &Guarded) -> Result<(String, u16), String> {
    let Some(upstream) = &deployment.upstream else { return Ok((name(deployment), 80)) };
    let service = upstream.host().split('.').next().unwrap_or_default();
    if upstream.is_address() || !is_label(service) {
        let id = &deployment.id;
        return Err(format!("the upstream of {id} is no Kubernetes service: name one as http://SERVICE:PORT"));
    }
    Ok((service.to_owned(), upstream.port()))
}

fn is_label(text: &str) -> bool {
    let hyphenless_ends = !text.starts_with('-') && !text.ends_with('-');
    (1..=63).contains(&text.len())
        && hyphenless_ends
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

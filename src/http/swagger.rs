//! `/swagger/`: Swagger UI over `/openapi.json`, from this program alone. Needs no token: it holds no data, and a token is
//! typed into the page, which keeps it until it is closed.
//!
//! The two large files are kept compressed and sent so; whoever refuses gzip is told (406).

use actix_web::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, LOCATION, REFERRER_POLICY,
    VARY,
};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::oauth::service::Service;

/// A file of the page.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    packed: bool,
    bytes: &'static [u8],
}

/// All of them, the page itself first.
static ASSETS: [Asset; 4] = [
    Asset {
        name: "",
        content_type: "text/html; charset=utf-8",
        packed: false,
        bytes: include_bytes!("../../assets/swagger-ui/index.html"),
    },
    Asset {
        name: "start.js",
        content_type: "text/javascript; charset=utf-8",
        packed: false,
        bytes: include_bytes!("../../assets/swagger-ui/start.js"),
    },
    Asset {
        name: "swagger-ui-bundle.js",
        content_type: "text/javascript; charset=utf-8",
        packed: true,
        bytes: include_bytes!("../../assets/swagger-ui/swagger-ui-bundle.js.gz"),
    },
    Asset {
        name: "swagger-ui.css",
        content_type: "text/css; charset=utf-8",
        packed: true,
        bytes: include_bytes!("../../assets/swagger-ui/swagger-ui.css.gz"),
    },
];

/// The names of the files beside the page.
pub(super) fn files() -> Vec<&'static str> {
    ASSETS.iter().map(|asset| asset.name).filter(|name| !name.is_empty()).collect()
}

/// `GET /swagger`: leads to the page, whose links are relative.
pub async fn home() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "/swagger/")).finish()
}

/// `GET /swagger/` and the files beside it.
pub async fn file(request: HttpRequest, service: web::Data<Service>) -> HttpResponse {
    let name = request.path().rsplit('/').next().unwrap_or_default();
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return HttpResponse::NotFound().finish();
    };
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header((CONTENT_TYPE, asset.content_type))
        .insert_header((CONTENT_SECURITY_POLICY, policy(&service.settings.issuer)))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header(("cross-origin-opener-policy", "same-origin"));
    if asset.packed {
        if !takes_gzip(request.headers()) {
            return HttpResponse::NotAcceptable().insert_header((VARY, "Accept-Encoding")).finish();
        }
        answer.insert_header((CONTENT_ENCODING, "gzip")).insert_header((VARY, "Accept-Encoding"));
    }
    answer.body(asset.bytes)
}

/// Nothing but the page's own files; connections to this listener and to the public one. Swagger UI sets the style of
/// single elements, and has its symbols inline.
fn policy(issuer: &str) -> String {
    let public = url::Url::parse(issuer).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         connect-src 'self' {public}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// Whether the caller takes gzip (RFC 9110 §12.5.3): it names it, or all codings, or says nothing.
fn takes_gzip(headers: &HeaderMap) -> bool {
    if !headers.contains_key(ACCEPT_ENCODING) {
        return true;
    }
    let all = headers.get_all(ACCEPT_ENCODING).filter_map(|value| value.to_str().ok());
    let weight = |wanted: &str| {
        all.clone().flat_map(|value| value.split(',')).find_map(|item| {
            let mut parts = item.split(';').map(str::trim);
            parts.next().filter(|coding| coding.eq_ignore_ascii_case(wanted))?;
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            Some(weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0)))
        })
    };
    weight("gzip").or_else(|| weight("x-gzip")).or_else(|| weight("*")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for (sent, takes) in [
            (None, true),
            (Some("gzip"), true),
            (Some("br, GZIP;q=0.5"), true),
            (Some("*"), true),
            (Some("*;q=0, gzip"), true),
            (Some("gzip;q=0"), false),
            (Some("gzip; q=0.000, *"), false),
            (Some("identity"), false),
            (Some(""), false),
        ] {
            let request = TestRequest::get();
            let request = sent.into_iter().fold(request, |r, value| r.insert_header((ACCEPT_ENCODING, value)));
            assert_eq!(takes_gzip(request.to_http_request().headers()), takes, "{sent:?}");
        }
    }

    #[test]
    fn the_page_names_files_that_are_there_and_no_other_host() {
        let page = String::from_utf8_lossy(ASSETS[0].bytes);
        for name in files() {
            assert!(page.contains(&format!("\"{name}\"")), "{name}");
        }
        assert_eq!(page.matches("src=").count() + page.matches("rel=\"stylesheet\"").count(), files().len());
        assert!(!page.contains("//"), "nothing is loaded from elsewhere");
        assert!(policy("https://edi.example:8443/tenant").contains("connect-src 'self' https://edi.example:8443;"));
    }
}

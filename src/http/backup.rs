//! A backup as a body: made while it is sent, as fast as it is taken.

use actix_web::HttpResponse;
use actix_web::web::Bytes;
use futures_util::stream;

use crate::store::backup::Backup;

/// The answer whose body is the backup. When that breaks off, so does the connection: half a backup never looks whole,
/// and its own end is missing besides.
pub(super) fn answer(backup: Backup) -> HttpResponse {
    let pieces = stream::unfold(Some(backup), |backup| async move {
        let mut backup = backup?;
        match backup.piece().await {
            Ok(piece) => piece.map(|piece| (Ok(Bytes::from(piece)), Some(backup))),
            Err(error) => {
                tracing::error!(target: "edi::store", %error, "a backup broke off");
                Some((Err(error), None))
            }
        }
    });
    HttpResponse::Ok().content_type("application/octet-stream").streaming(pieces)
}

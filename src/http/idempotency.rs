//! The header that names a request, so that a retry takes effect once.

use actix_web::HttpRequest;

use super::ApiError;
use crate::kv::{BadRequestId, RequestId};

/// The header, as in draft-ietf-httpapi-idempotency-key-header; its value is
/// taken as it is, quotes included.
const HEADER: &str = "Idempotency-Key";

/// The name that a client gave its request.
pub fn request_id(request: &HttpRequest) -> Result<Option<RequestId>, ApiError> {
    let mut values = request.headers().get_all(HEADER);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::Malformed(format!("{HEADER}: more than one is given")));
    }
    let text = value.to_str().map_err(|_| BadRequestId)?;
    Ok(Some(RequestId::try_from(text)?))
}

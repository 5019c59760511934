//! The cap on connections of a listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::HttpRequest;
use actix_web::dev::Extensions;

use super::ApiError;

/// Counts the connections of a listener.
#[derive(Clone, Default)]
pub struct Connections(Arc<AtomicUsize>);

/// Lives as long as its connection.
struct Connection {
    count: Arc<AtomicUsize>,
    is_beyond_cap: bool,
}

impl Connections {
    /// Connections that are served; those beyond get 503 and are closed.
    pub const CAP: usize = 2048;

    /// Notes a new connection in its extensions.
    pub fn note(&self, extensions: &mut Extensions) {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let is_beyond_cap = before >= Self::CAP;
        extensions.insert(Connection { count: self.0.clone(), is_beyond_cap });
    }

    /// An error for a request on a connection beyond the cap.
    pub fn check(request: &HttpRequest) -> Result<(), ApiError> {
        match request.conn_data::<Connection>() {
            Some(connection) if connection.is_beyond_cap => {
                Err(ApiError::TooManyConnections(Self::CAP))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

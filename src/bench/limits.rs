//! How far the HTTP library gets on this machine with nothing behind it: a
//! server that answers the same, and one whose writes pass one actor.

use actix::{Actor, Addr, Context, Handler, Message};
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use bytes::Bytes;

use super::BenchError;

/// Servers in this process that do nothing.
pub struct Limits {
    handle: ServerHandle,
    /// Where they are.
    pub url: String,
}

struct Nothing;

impl Actor for Nothing {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "usize")]
struct Write(Bytes);

impl Handler<Write> for Nothing {
    type Result = usize;

    fn handle(&mut self, Write(bytes): Write, _: &mut Context<Self>) -> usize {
        bytes.len()
    }
}

const PORT: u16 = 28_900;
/// As many as a node has.
const WORKERS: usize = 1;

impl Limits {
    /// Starts them. GET answers 100 bytes, PUT has an actor see the body.
    pub fn start() -> Result<Limits, BenchError> {
        let actor = web::Data::new(Nothing.start());
        let server = HttpServer::new(move || {
            App::new().app_data(actor.clone()).service(
                web::resource("/{key}").route(web::get().to(get)).route(web::put().to(put)),
            )
        });
        let server = server.workers(WORKERS).disable_signals().bind(("127.0.0.1", PORT));
        let server = server.map_err(|error| BenchError::Program {
            program: format!("a server at port {PORT}"),
            error,
        })?;
        let server = server.run();
        let handle = server.handle();
        actix::spawn(async { drop(server.await) });
        Ok(Limits { handle, url: format!("http://127.0.0.1:{PORT}") })
    }

    /// Ends them.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

async fn get() -> HttpResponse {
    static VALUE: [u8; 100] = [b'v'; 100];
    HttpResponse::Ok().content_type("application/octet-stream").body(Bytes::from_static(&VALUE))
}

async fn put(body: Bytes, actor: web::Data<Addr<Nothing>>) -> HttpResponse {
    match actor.send(Write(body)).await {
        Ok(_) => HttpResponse::NoContent().finish(),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

//! etcd's v2 keys API: `GET|PUT|DELETE /v2/keys/{key}`.
//!
//! Parameters, statuses, error codes and causes are etcd 3.4's. On a Raft node
//! the indices are too; on CASPaxos `modifiedIndex` counts the changes of one
//! key, and `X-Etcd-Index` is that of the answered key. Directories are implicit: one
//! is there while a key lies in it. TTLs, watches, in-order keys (POST) and
//! explicit directories are refused, never silently ignored; so are parameters that
//! nobody knows, and bodies that hold none.
//!
//! Beyond etcd's: a read that accepts `application/octet-stream` is answered with the
//! value alone, byte for byte; `dir=true` asks for the directory where a key has the
//! same name; `hidden=true` lists the hidden keys too.

use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};

use super::body::{self, MAX_FORM_BYTES};
use super::form::Form;
use super::idempotency::request_id;
use super::v2_answer::{Answerer, BYTES, EtcdError, Listing, MAX_LISTING_DEPTH};
use super::{ApiError, ClientState, not_here};
use crate::kv::{Command, Compare, Consistency, Key, Submission, Verdict};

/// Every method on `/v2/keys` and below.
pub async fn keys(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<ClientState>,
) -> HttpResponse {
    let answerer = Answerer::new(&state.cluster_id);
    match handle(&request, payload, &state, &answerer).await {
        Ok(response) => response,
        Err(error) => answerer.error(&error),
    }
}

/// Whatever else is asked for below `/v2`, in etcd's form of an error: some of its
/// clients take an answer without an error code for success.
pub async fn nothing(state: web::Data<ClientState>) -> HttpResponse {
    Answerer::new(&state.cluster_id).error(&EtcdError::Api(not_here()))
}

async fn handle(
    request: &HttpRequest,
    payload: web::Payload,
    state: &ClientState,
    answerer: &Answerer,
) -> Result<HttpResponse, EtcdError> {
    let method = request.method();
    // What etcd serves and this server does not has an error code; what etcd does not
    // serve either is refused in its words.
    if *method == Method::POST {
        return Err(ApiError::MethodNotAllowed("HEAD, GET, PUT, DELETE").into());
    }
    if ![Method::GET, Method::HEAD, Method::PUT, Method::DELETE].contains(method) {
        return Ok(answerer.method_not_allowed());
    }
    let path = request.uri().path().strip_prefix("/v2/keys").unwrap_or_default();
    let name = clean(&body::decode_path(path)?);
    let form = read_form(request, payload).await?;
    let parameters = Parameters::parse(&form, method)?;
    if *method == Method::GET || *method == Method::HEAD {
        let wants_bytes = request.headers().get(ACCEPT).is_some_and(|media| media == BYTES);
        return get(state, answerer, &name, &parameters, wants_bytes).await;
    }
    if name.is_empty() {
        return Err(EtcdError::RootIsReadOnly);
    }
    let (command, action) = if *method == Method::PUT {
        parameters.put_command(&form)?
    } else {
        parameters.delete_command()
    };
    let key = Key::try_from(name.as_str()).map_err(ApiError::from)?;
    let submission = Submission { command: command.clone(), request_id: request_id(request)? };
    let answer = state.service.submit(key, submission).await.map_err(ApiError::from)?;
    if answer.outcome.verdict == Verdict::Done {
        return Ok(answerer.event(action, &name, &answer, parameters.no_value_on_success));
    }
    Err(EtcdError::precondition(&name, &command, &answer))
}

async fn get(
    state: &ClientState,
    answerer: &Answerer,
    name: &str,
    parameters: &Parameters,
    wants_bytes: bool,
) -> Result<HttpResponse, EtcdError> {
    let service = &state.service;
    let consistency = parameters.consistency(state.v2_reads);
    let prefix = if name.is_empty() { String::new() } else { format!("{name}/") };
    let has_any =
        async || service.has_any(prefix.clone(), consistency).await.map_err(ApiError::from);
    if !(name.is_empty() || parameters.dir && has_any().await?) {
        let key = Key::try_from(name).map_err(ApiError::from)?;
        let found = service.get(key, consistency).await.map_err(ApiError::from)?;
        if found.outcome.verdict == Verdict::Done {
            return Ok(match wants_bytes {
                true => answerer.value(&found)?,
                false => answerer.found(name, &found)?,
            });
        }
        if !has_any().await? {
            return Err(EtcdError::precondition(name, &Command::Get, &found));
        }
    }
    let (name, depth, hidden) = (name.to_owned(), parameters.depth(), parameters.hidden);
    let render = move |listed| Listing::new(&name, &listed, depth, hidden);
    let listing = service.list(prefix, consistency, render).await.map_err(ApiError::from)?;
    Ok(answerer.listing(listing)?)
}

/// The path without its empty, `.` and `..` parts, and without the first slash.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The parameters of the query and of the body of a PUT, which is a form. What a
/// write says elsewhere would be lost in etcd; here it is refused.
async fn read_form(request: &HttpRequest, payload: web::Payload) -> Result<Form, EtcdError> {
    const FORM: &str = "application/x-www-form-urlencoded";
    let bad_form = |cause: String| EtcdError::Invalid { code: 210, cause };
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    let is_form = media_type.trim().eq_ignore_ascii_case(FORM);
    let body = body::read(payload, MAX_FORM_BYTES).await?;
    let body = match *request.method() {
        Method::PUT if is_form || body.is_empty() => body,
        Method::PUT => {
            let why = format!("send the body as {FORM}, value=..., not as {media_type:?}");
            return Err(bad_form(why));
        }
        Method::DELETE if !body.is_empty() => {
            return Err(bad_form("DELETE has no body: give the parameters in the query".into()));
        }
        _ => Default::default(),
    };
    let body = std::str::from_utf8(&body).map_err(|_| bad_form("the form is not UTF-8".into()))?;
    let query = request.uri().query().unwrap_or_default();
    let form = Form::parse(body, query).map_err(|error| bad_form(error.to_string()))?;
    form.check_known().map_err(|cause| EtcdError::Invalid { code: 209, cause })?;
    Ok(form)
}

struct Parameters {
    compare: Compare,
    prev_exist: Option<bool>,
    recursive: bool,
    dir: bool,
    hidden: bool,
    no_value_on_success: bool,
    quorum: Option<bool>,
    consistency: Option<Consistency>,
}

impl Parameters {
    /// Checks the parameters in etcd's order, so that the first complaint is
    /// the same.
    fn parse(form: &Form, method: &Method) -> Result<Parameters, EtcdError> {
        let index = number(form, "prevIndex", 203)?.filter(|index| *index > 0);
        number(form, "waitIndex", 203)?;
        let recursive = flag(form, "recursive")?.unwrap_or(false);
        flag(form, "sorted")?;
        let wait = flag(form, "wait")?.unwrap_or(false);
        let dir = flag(form, "dir")?.unwrap_or(false);
        let hidden = flag(form, "hidden")?.unwrap_or(false);
        let quorum = flag(form, "quorum")?;
        let stream = flag(form, "stream")?.unwrap_or(false);
        if wait && *method != Method::GET {
            return Err(invalid(209, "\"wait\" can only be used with GET requests"));
        }
        let value = form.get("prevValue").cloned();
        if value.as_ref().is_some_and(|value| value.is_empty()) {
            return Err(invalid(201, "\"prevValue\" cannot be empty"));
        }
        let no_value_on_success = flag(form, "noValueOnSuccess")?.unwrap_or(false);
        let ttl = number(form, "ttl", 202)?;
        let prev_exist = match form.get("prevExist") {
            None => None,
            Some(_) => Some(
                parse_flag(form.text("prevExist"))
                    .ok_or_else(|| invalid(209, "invalid value for prevExist"))?,
            ),
        };
        let refresh = flag(form, "refresh")?.unwrap_or(false);
        let consistency = form.get("consistency").map(|_| form.text("consistency").parse());
        let consistency = consistency.transpose().map_err(ApiError::from)?;
        let is_write = *method == Method::PUT || *method == Method::DELETE;
        for (is_given, why) in [
            (wait || stream, "watches are not supported"),
            (ttl.is_some() || refresh, "times to live are not supported"),
            (dir && is_write, "directories are implicit: write or delete the keys in them"),
            (recursive && is_write, "recursive deletion is not supported: delete key by key"),
        ] {
            if is_given {
                return Err(invalid(209, why));
            }
        }
        let compare = Compare { value, index };
        Ok(Parameters {
            compare,
            prev_exist,
            recursive,
            dir,
            hidden,
            no_value_on_success,
            quorum,
            consistency,
        })
    }

    /// How many levels of a directory are listed.
    fn depth(&self) -> usize {
        if self.recursive { MAX_LISTING_DEPTH } else { 1 }
    }

    /// What the read promises: the stronger of what `quorum` and `consistency`
    /// ask for, or `default` when neither says.
    fn consistency(&self, default: Consistency) -> Consistency {
        match (self.quorum, self.consistency) {
            (Some(true), _) | (_, Some(Consistency::Linearizable)) => Consistency::Linearizable,
            (Some(false), _) | (_, Some(Consistency::Stale)) => Consistency::Stale,
            (None, None) => default,
        }
    }

    fn is_comparing(&self) -> bool {
        self.compare != Compare::default()
    }

    fn put_command(&self, form: &Form) -> Result<(Command, &'static str), EtcdError> {
        let value = form.get("value").cloned().unwrap_or_default();
        body::check_value(&value)?;
        Ok(match self.prev_exist {
            Some(false) => (Command::Create(value), "create"),
            Some(true) | None if self.is_comparing() => {
                (Command::CompareAndSwap(self.compare.clone(), value), "compareAndSwap")
            }
            Some(true) => (Command::Update(value), "update"),
            None => (Command::Set(value), "set"),
        })
    }

    fn delete_command(&self) -> (Command, &'static str) {
        if self.is_comparing() {
            (Command::CompareAndDelete(self.compare.clone()), "compareAndDelete")
        } else {
            (Command::Delete, "delete")
        }
    }
}

fn invalid(code: u16, cause: &str) -> EtcdError {
    EtcdError::Invalid { code, cause: cause.to_string() }
}

/// A number that is given, if only as an empty text, must be one: a condition
/// that was lost on its way must not become a write without it.
fn number(form: &Form, name: &str, code: u16) -> Result<Option<u64>, EtcdError> {
    if form.get(name).is_none() {
        return Ok(None);
    }
    let text = form.text(name);
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.map(Some).ok_or_else(|| invalid(code, &format!("invalid value for {name:?}")))
}

fn flag(form: &Form, name: &str) -> Result<Option<bool>, EtcdError> {
    if form.get(name).is_none() {
        return Ok(None);
    }
    let flag = parse_flag(form.text(name));
    flag.map(Some).ok_or_else(|| invalid(209, &format!("invalid value for {name:?}")))
}

/// Go's `strconv.ParseBool`.
fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_like_etcds() {
        for (path, name) in [
            ("", ""),
            ("/", ""),
            ("/a", "a"),
            ("//a//b/", "a/b"),
            ("/a/./b/../c", "a/c"),
            ("/../..", ""),
        ] {
            assert_eq!(clean(path), name, "{path:?}");
        }
    }

    #[test]
    fn the_stronger_of_quorum_and_consistency_counts() {
        use Consistency::{Linearizable, Stale};
        let table = [
            // What a read gets by default, on either kind of node.
            ("", Linearizable, Stale),
            ("quorum=true", Linearizable, Linearizable),
            ("quorum=false", Stale, Stale),
            ("consistency=linearizable", Linearizable, Linearizable),
            ("consistency=stale", Stale, Stale),
            ("quorum=true&consistency=stale", Linearizable, Linearizable),
            ("quorum=false&consistency=linearizable", Linearizable, Linearizable),
        ];
        for (query, by_default, on_stale) in table {
            let form = Form::parse("", query).unwrap();
            let parameters = Parameters::parse(&form, &Method::GET).unwrap();
            assert_eq!(parameters.consistency(Linearizable), by_default, "{query}");
            assert_eq!(parameters.consistency(Stale), on_stale, "{query}");
        }
        let form = Form::parse("", "consistency=eventual").unwrap();
        assert!(Parameters::parse(&form, &Method::GET).is_err());
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for (query, method) in [
            ("wait=true", Method::GET),
            ("ttl=5", Method::PUT),
            ("dir=true", Method::PUT),
            ("recursive=true", Method::DELETE),
            ("refresh=true", Method::PUT),
        ] {
            let form = Form::parse("", query).unwrap();
            assert!(Parameters::parse(&form, &method).is_err(), "{query}");
        }
    }
}

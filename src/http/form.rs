//! Parameters of the v2 API, from the query and from a form body.

use bytes::Bytes;

use super::ApiError;
use super::body::percent_decode;

/// The most parameters of a request. The API knows some fifteen; a body has room for
/// a million, each of which takes a hundred bytes.
const MAX_PARAMETERS: usize = 100;

/// Every parameter that a request may have. Each is one of etcd's server, or sent by
/// clients of it: its own Go client and `etcdctl`, go-etcd, python-etcd, node-etcd.
/// All others are refused, where etcd ignores them: a condition with a misspelt name
/// would become a write without one.
const KNOWN: [&str; 17] = [
    "value",
    "prevExist",
    "prevIndex",
    "prevValue",
    "noValueOnSuccess",
    "ttl",
    "refresh",
    "dir",
    "recursive",
    "sorted",
    "quorum",
    "wait",
    "waitIndex",
    "stream",
    // go-etcd adds it to reads; etcd from 2.0 on ignores it.
    "consistent",
    // Of this server alone.
    "consistency",
    "hidden",
];

/// The parameters of a request. Those of the body come first, and the first
/// one of a name counts, as in etcd.
#[derive(Debug, Default)]
pub struct Form(Vec<(String, Bytes)>);

impl Form {
    /// Parses a form body and a query.
    pub fn parse(body: &str, query: &str) -> Result<Form, ApiError> {
        let pairs = body.split('&').chain(query.split('&')).filter(|pair| !pair.is_empty());
        if pairs.clone().nth(MAX_PARAMETERS).is_some() {
            return Err(ApiError::Malformed(format!("more than {MAX_PARAMETERS} parameters")));
        }
        pairs.map(parse_pair).collect::<Result<_, _>>().map(Form)
    }

    /// Refuses a parameter that nobody knows, by its name.
    pub fn check_known(&self) -> Result<(), String> {
        let unknown = self.0.iter().find(|(name, _)| !KNOWN.contains(&name.as_str()));
        let Some((name, _)) = unknown else { return Ok(()) };
        let is_alike = |known: &&&str| known.eq_ignore_ascii_case(name);
        Err(match KNOWN.iter().find(is_alike) {
            Some(known) => format!("unknown parameter {name:?}; it is written {known:?}"),
            None => format!("unknown parameter {name:?}; use {}", KNOWN.join(", ")),
        })
    }

    /// The value of a parameter; `None` when it is not given.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value)
    }

    /// The value of a parameter as text; empty when it is not given.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or("")
    }
}

fn parse_pair(pair: &str) -> Result<(String, Bytes), ApiError> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let decode = |text: &str| percent_decode(&text.replace('+', " "));
    Ok((String::from_utf8_lossy(&decode(name)?).into_owned(), decode(value)?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_nobody_knows_is_refused_by_its_name() {
        for known in KNOWN {
            let form = Form::parse(&format!("{known}=1"), &format!("{known}=2")).unwrap();
            assert_eq!(form.check_known(), Ok(()));
        }
        for (body, query, name) in [
            ("value=1", "prevExists=true", "\"prevExists\"; use value"),
            ("val=1", "", "\"val\"; use value"),
            ("value=1", "previndex=3", "\"previndex\"; it is written \"prevIndex\""),
            ("{\"value\":1}", "", "\"{\\\"value\\\":1}\"; use"),
            ("value=1", "=1", "\"\"; use"),
        ] {
            let refused = Form::parse(body, query).unwrap().check_known().unwrap_err();
            assert!(refused.contains(&format!("unknown parameter {name}")), "{refused}");
        }
    }

    #[test]
    fn body_before_query_and_first_before_second() {
        let form = Form::parse("value=a+b%21&x", "value=c&prevExist=true&x=1").unwrap();
        assert_eq!(form.text("value"), "a b!");
        assert_eq!(form.text("prevExist"), "true");
        assert_eq!((form.get("x").unwrap().len(), form.get("y")), (0, None));
        assert!(Form::parse("value=%z", "").is_err());
        let many = "a=1&".repeat(MAX_PARAMETERS - 1);
        assert!(Form::parse(&many, "value=1").is_ok());
        assert!(Form::parse(&many, "value=1&x").is_err());
    }
}

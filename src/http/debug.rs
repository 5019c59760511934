//! What people see who look for a fault: `GET /debug` of the admin listener.

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};

use super::configuration;
use super::{ApiError, ClientState, Configurations};
use crate::actors::MemberView;
use crate::kv::{Consistency, Listed};

/// What is not shown among all: it reads all keys.
const LOG: &str = "log";

/// How many pairs `log` shows, and how many bytes of values, at most.
const MAX_PAIRS: usize = 1000;
const MAX_PAIRS_BYTES: usize = 2 << 20;

/// `GET /debug`: everything, but for the stored pairs.
pub async fn all(state: web::Data<ClientState>) -> HttpResponse {
    HttpResponse::Ok().json(variables(&state).await)
}

/// `GET /debug/{variable}`: one thing.
pub async fn one(
    variable: web::Path<String>,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    let mut variables = variables(&state).await;
    if *variable == LOG {
        return Ok(HttpResponse::Ok().json(log(&state, variables.remove(LOG)).await));
    }
    match variables.remove(variable.as_str()) {
        Some(value) => Ok(HttpResponse::Ok().json(value)),
        None => {
            variables.entry(LOG).or_insert(Value::Null);
            let names: Vec<&str> = variables.keys().map(String::as_str).collect();
            let (variable, names) = (variable.into_inner(), names.join(", "));
            Err(ApiError::NotFound(format!("there is no {variable:?} here; there are {names}")))
        }
    }
}

/// What is stored, as the original's `log` is, and with a log how far it has come. On
/// Raft it is what this replica has applied.
async fn log(state: &ClientState, progress: Option<Value>) -> Map<String, Value> {
    let mut shown = match progress {
        Some(Value::Object(progress)) => progress,
        _ => Map::new(),
    };
    match state.service.list(String::new(), Consistency::Stale, pairs).await {
        Ok((pairs, left)) => {
            shown.insert("pairs".into(), pairs.into());
            shown.insert("pairsLeftOut".into(), left.into());
        }
        Err(why) => {
            shown.insert("pairs".into(), Value::Null);
            shown.insert("whyNoPairs".into(), why.to_string().into());
        }
    }
    shown
}

/// The first pairs in the order of their keys, and how many there are besides.
fn pairs(listed: Listed) -> (Map<String, Value>, usize) {
    let (all, mut bytes) = (listed.records.len(), 0);
    let shown = listed.records.into_iter().take(MAX_PAIRS).map_while(|(key, record)| {
        let value = record.value.unwrap_or_default();
        bytes += value.len();
        let text = || (key.as_str().to_owned(), String::from_utf8_lossy(&value).into());
        (bytes <= MAX_PAIRS_BYTES).then(text)
    });
    let shown: Map<String, Value> = shown.collect();
    let left = all - shown.len();
    (shown, left)
}

/// What the protocol, the matrix and the node tell, each by its name.
async fn variables(state: &ClientState) -> Map<String, Value> {
    let mut all = Map::new();
    all.insert("node".into(), state.node.clone().into());
    all.insert("cluster".into(), state.cluster.clone().into());
    all.insert("protocol".into(), json!(state.protocol));
    all.insert("killed".into(), state.chaos.is_cut().into());
    if let Ok(Some((matrix, _))) = state.chaos.matrix() {
        all.insert("conn_mat".into(), json!(matrix.drop));
        all.insert("delay_mat".into(), json!(matrix.delay));
        all.insert("matrixVersion".into(), matrix.version.into());
    }
    let told = match &state.configuration {
        Configurations::Acceptors(acceptors) => {
            all.insert("configuration".into(), configuration::describe(acceptors));
            all.insert("collector".into(), json!(acceptors.collector().status()));
            acceptors.describe().await
        }
        Configurations::Fixed(configuration) => {
            all.insert("configuration".into(), configuration.clone());
            let members = state.service.members().unwrap_or_default();
            let leader = members.into_iter().find(|member| member.is_leader);
            state.service.state().map(|told| with_progress(told, leader))
        }
    };
    if let Some(Value::Object(told)) = told {
        all.extend(told);
    }
    all
}

/// What the leader knows of each member, also under the names of the paper. Another
/// replica knows nothing of it, and says who leads.
fn with_progress(mut state: Value, leader: Option<MemberView>) -> Value {
    let name = leader.map(|leader| leader.name);
    let is_leading = state["leader"] == state["id"];
    for index in ["matchIndex", "nextIndex"] {
        state[index] = match (is_leading, &name) {
            (true, _) => {
                let each = state["replication"].as_object().into_iter().flatten();
                let each = each.map(|(id, progress)| (id.clone(), progress[index].clone()));
                each.collect::<Map<String, Value>>().into()
            }
            (false, Some(name)) => format!("{name} leads: ask its admin listener").into(),
            (false, None) => "no leader is known here; ask again, or another node".into(),
        };
    }
    state["leaderName"] = name.into();
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{Key, Record};

    #[test]
    fn pairs_are_bounded_in_number_and_in_bytes() {
        let listed = |count: usize, bytes: usize| {
            let key = |number: usize| Key::try_from(format!("k{number:05}").as_str()).unwrap();
            let value = Some(vec![b'v'; bytes].into());
            let record = Record { value, created_index: 1, modified_index: 1 };
            let records = (0..count).map(|number| (key(number), record.clone())).collect();
            let (shown, left) = pairs(Listed { records, index: 1, position: None });
            (shown.len(), left)
        };
        assert_eq!(listed(0, 1), (0, 0));
        assert_eq!(listed(1200, 1), (1000, 200));
        assert_eq!(listed(7, 1 << 20), (2, 5));
    }
}

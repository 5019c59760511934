//! What people see who look for a fault: `GET /debug` of the admin listener.

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};

use super::configuration;
use super::{ApiError, ClientState, Configurations};

/// `GET /debug`: everything.
pub async fn all(state: web::Data<ClientState>) -> HttpResponse {
    HttpResponse::Ok().json(variables(&state).await)
}

/// `GET /debug/{variable}`: one thing.
pub async fn one(
    variable: web::Path<String>,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    let mut variables = variables(&state).await;
    match variables.remove(variable.as_str()) {
        Some(value) => Ok(HttpResponse::Ok().json(value)),
        None => {
            let names: Vec<&str> = variables.keys().map(String::as_str).collect();
            let (variable, names) = (variable.into_inner(), names.join(", "));
            Err(ApiError::NotFound(format!("there is no {variable:?} here; there are {names}")))
        }
    }
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
            state.service.state().map(with_progress)
        }
    };
    if let Some(Value::Object(told)) = told {
        all.extend(told);
    }
    all
}

/// What the leader knows of each member, also under the names of the paper.
fn with_progress(mut state: Value) -> Value {
    for index in ["matchIndex", "nextIndex"] {
        let each = state["replication"].as_object().into_iter().flatten();
        let each: Map<String, Value> =
            each.map(|(id, progress)| (id.clone(), progress[index].clone())).collect();
        state[index] = each.into();
    }
    state
}

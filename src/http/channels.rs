//! Channels: which there are, what each has and keeps, and what is done to a whole one.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body;
use super::door::Door;
use super::problem::Problem;
use crate::client::{Channel, Client, Error};
use crate::protocol::ChannelName;
use crate::protocol::channel::Retention;
use crate::protocol::command::{self, Answer};
use crate::rows::channel::{Listed, Shown};

/// The name in a path.
pub(super) type Name = Result<Path<String>, PathRejection>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    after: Option<String>,
}

/// A page of channels, by name.
pub(super) async fn list(
    State(door): State<Arc<Door>>,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(Page { after }) = query?;
    let after = after.map(|name| ChannelName::new(&name)).transpose().map_err(Error::from)?;
    let answer = door.client().await?.query(command::Query::Channels { after }).await?;
    let Answer::Channels(channels) = answer else {
        return Err(Problem::internal("no channels were answered"));
    };
    let rows: Vec<_> = channels.iter().map(Listed::of).collect();
    let next = channels.last().map(|info| info.name.as_str());
    Ok(Json(json!({ "channels": rows, "next": next })))
}

/// All that is known of a channel.
pub(super) async fn show(State(door): State<Arc<Door>>, name: Name) -> Result<Response, Problem> {
    let channel = existing(&door.client().await?, name).await?;
    shown(&channel).await
}

/// The bounds of a channel that is made.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    max_elements: Option<u64>,
    max_age_ms: Option<u64>,
    max_bytes: Option<u64>,
}

/// Makes a channel: with bounds one that is not there yet.
pub(super) async fn create(
    State(door): State<Arc<Door>>,
    name: Name,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let (Path(name), body) = (name?, body?);
    let client = door.client().await?;
    if body.is_empty() {
        return shown(&client.channel::<Value>(&name).await?).await;
    }
    let Bounds { max_elements, max_age_ms, max_bytes } = body::json(&headers, &body)?;
    let retention = Retention { max_elements, max_age_ms, max_bytes };
    let channel = client.create_channel::<Value>(&name, retention).await?;
    Ok((StatusCode::CREATED, shown(&channel).await?).into_response())
}

/// Lets it take no more elements.
pub(super) async fn stop(State(door): State<Arc<Door>>, name: Name) -> Result<Json<Value>, Problem> {
    let elements = existing(&door.client().await?, name).await?.stop().await?;
    Ok(Json(json!({ "elements": elements })))
}

/// Lets it take elements again.
pub(super) async fn resume(State(door): State<Arc<Door>>, name: Name) -> Result<Response, Problem> {
    let channel = existing(&door.client().await?, name).await?;
    channel.resume().await?;
    shown(&channel).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trim {
    before: u64,
}

/// Drops the records before an offset.
pub(super) async fn trim(
    State(door): State<Arc<Door>>,
    name: Name,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let Trim { before } = body::json(&headers, &body?)?;
    let channel = existing(&door.client().await?, name).await?;
    channel.trim(before).await?;
    shown(&channel).await
}

/// A channel that must be there.
pub(super) async fn existing(client: &Client, name: Name) -> Result<Channel<Value>, Problem> {
    Ok(client.existing_channel(&name?.0).await?)
}

async fn shown(channel: &Channel<Value>) -> Result<Response, Problem> {
    let info = channel.info().await?;
    let (cursors, groups) = (channel.cursors().await?, channel.groups().await?);
    let subscribers = channel.subscribers().await?;
    Ok(Json(Shown::of(&info, &cursors, &groups, subscribers)).into_response())
}

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

use super::as_of::{Asked, At};
use super::body;
use super::door::Door;
use super::problem::Problem;
use crate::client::{Channel, Client, Error};
use crate::protocol::ChannelName;
use crate::protocol::channel::Retention;
use crate::protocol::command::{self, Answer};
use crate::protocol::cursor::CursorInfo;
use crate::protocol::group::GroupInfo;
use crate::rows::channel::{Listed, Shown};

/// The name in a path.
pub(super) type Name = Result<Path<String>, PathRejection>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    after: Option<String>,
    at: Option<u64>,
}

/// A page of channels, by name.
pub(super) async fn list(
    State(door): State<Arc<Door>>,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(Page { after, at }) = query?;
    let after = after.map(|name| ChannelName::new(&name)).transpose().map_err(Error::from)?;
    let asked = door.asked(at).await?;
    let answer = asked.query(command::Query::Channels { after }).await?;
    let Answer::Channels(channels) = answer else {
        return Err(Problem::unanswered());
    };
    let rows: Vec<_> = channels.iter().map(Listed::of).collect();
    let next = channels.last().map(|info| info.name.as_str());
    Ok(Json(asked.dated(json!({ "channels": rows, "next": next }))))
}

/// All that is known of a channel.
pub(super) async fn show(
    State(door): State<Arc<Door>>,
    name: Name,
    query: Result<Query<At>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let name = ChannelName::new(&name?.0).map_err(Error::from)?;
    shown(&door.asked(query?.0.at).await?, &name).await
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
        let channel = client.channel::<Value>(&name).await?;
        return Ok(shown_now(client, &channel).await?.into_response());
    }
    let Bounds { max_elements, max_age_ms, max_bytes } = body::json(&headers, &body)?;
    let retention = Retention { max_elements, max_age_ms, max_bytes };
    let channel = client.create_channel::<Value>(&name, retention).await?;
    Ok((StatusCode::CREATED, shown_now(client, &channel).await?).into_response())
}

/// Lets it take no more elements.
pub(super) async fn stop(State(door): State<Arc<Door>>, name: Name) -> Result<Json<Value>, Problem> {
    let elements = existing(&door.client().await?, name).await?.stop().await?;
    Ok(Json(json!({ "elements": elements })))
}

/// Lets it take elements again.
pub(super) async fn resume(State(door): State<Arc<Door>>, name: Name) -> Result<Json<Value>, Problem> {
    let client = door.client().await?;
    let channel = existing(&client, name).await?;
    channel.resume().await?;
    shown_now(client, &channel).await
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
) -> Result<Json<Value>, Problem> {
    let Trim { before } = body::json(&headers, &body?)?;
    let client = door.client().await?;
    let channel = existing(&client, name).await?;
    channel.trim(before).await?;
    shown_now(client, &channel).await
}

/// A channel that must be there.
async fn existing(client: &Client, name: Name) -> Result<Channel<Value>, Problem> {
    Ok(client.existing_channel(&name?.0).await?)
}

/// What a channel is now that something was done to it.
async fn shown_now(client: Client, channel: &Channel<Value>) -> Result<Json<Value>, Problem> {
    let name = ChannelName::new(channel.name()).map_err(Error::from)?;
    shown(&Asked::Now(client), &name).await
}

async fn shown(asked: &Asked, name: &ChannelName) -> Result<Json<Value>, Problem> {
    let Answer::Channel(info) = asked.query(command::Query::Channel { name: name.clone() }).await? else {
        return Err(Problem::unanswered());
    };
    let log = info.log;
    let ask = |last: Option<&CursorInfo>| command::Query::Cursors {
        log,
        after: last.map(|cursor| cursor.name.clone()),
    };
    let rows = |answer| if let Answer::Cursors(page) = answer { Some(page) } else { None };
    let cursors = asked.all_pages(ask, rows).await?;
    let ask = |last: Option<&GroupInfo>| command::Query::Groups {
        log,
        after: last.map(|group| group.name.clone()),
    };
    let rows = |answer| if let Answer::Groups(page) = answer { Some(page) } else { None };
    let groups = asked.all_pages(ask, rows).await?;
    let subscribers = match asked {
        Asked::Now(_) => match asked.query(command::Query::Subscribers { log }).await? {
            Answer::Subscribers(count) => Some(count),
            _ => return Err(Problem::unanswered()),
        },
        Asked::Then(_) => None,
    };
    let shown = serde_json::to_value(Shown::of(&info, &cursors, &groups, subscribers));
    Ok(Json(asked.dated(shown.map_err(Problem::internal)?)))
}

//! `headwater channel append`.

use serde_json::Value;

use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::protocol::ChannelName;

/// Append values to a channel.
///
/// The channel is made when it is not there. All values are appended or none, in the order given, and
/// they are durable when their offsets are printed, one per line. A value is read as JSON when it is JSON,
/// and is a text otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater channel append numbers 1 2.5 -3
  headwater channel append builds '{\"commit\": \"1f3a\", \"green\": true}'
  headwater channel append notes 'a text' '\"12\"'    (the quoted 12 is a text, too)")]
pub struct Append {
    /// The channel
    name: ChannelName,

    /// The values
    #[arg(required = true, value_name = "VALUE", allow_negative_numbers = true)]
    values: Vec<String>,

    #[command(flatten)]
    connect: Connect,
}

impl Append {
    pub async fn run(self) -> anyhow::Result<()> {
        let values: Vec<Value> = self.values.iter().map(|text| value(text)).collect();
        let appended = self.connect.with(async |client| {
            let channel = client.channel::<Value>(self.name.as_str()).await?;
            Ok(channel.append_values(&values).await?)
        });
        let mut output = Output::new();
        appended.await?.offsets().try_for_each(|offset| output.line(offset))?;
        output.flush()
    }
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Payload;

    fn payload(text: &str) -> Payload {
        Payload::encode(&value(text)).unwrap()
    }

    #[test]
    fn what_is_json_is_a_value_and_all_else_a_text() {
        assert_eq!(payload("2.5").decode(), Ok(2.5));
        assert_eq!(payload("-3").decode(), Ok(-3));
        assert_eq!(payload("3").decode(), Ok(3.0));
        // To the last digit: the nearest double is not found without some care.
        assert_eq!(payload("1.6948674738744653").decode(), Ok(1.6948674738744653));
        assert_eq!(payload("[1, null]").decode(), Ok((1, Option::<u8>::None)));
        assert_eq!(payload("a text").decode(), Ok("a text".to_owned()));
        assert_eq!(payload("\"12\"").decode(), Ok("12".to_owned()));
        assert_eq!(payload("{broken").decode(), Ok("{broken".to_owned()));
    }
}

//! The envelope of messages, and the bytes that a connection begins with.
//!
//! Both sides first send a **preamble** of 8 bytes: `HWTR`, the wire version (u16), 2 zero bytes. Its
//! form never changes, so that two versions can always tell each other apart. Then come frames. All
//! numbers are little-endian.
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..4 | length | bytes of the body, at most [`FRAME_BYTES_MAX`] |
//! | 4..8 | checksum | CRC32C of bytes 8..16 and the body |
//! | 8..16 | number | what the message belongs to: see [`super::message`] |
//! | 16.. | body | the message in postcard; behind it, for `Records`, stored batches |

use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::limits::{FRAME_BYTES_MAX, FRAME_BYTES_SKIPPED_MAX, TooLarge};
use super::version::WIRE_VERSION;

/// Bytes before the body.
pub const HEADER_BYTES: usize = 16;

/// Bytes of the preamble.
pub const PREAMBLE_BYTES: usize = 8;

const MAGIC: [u8; 4] = *b"HWTR";

/// This build's preamble.
pub fn preamble() -> [u8; PREAMBLE_BYTES] {
    let [low, high] = WIRE_VERSION.to_le_bytes();
    [MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], low, high, 0, 0]
}

/// The other side's wire version, or `None` when it is no Headwater.
pub fn version_of(preamble: [u8; PREAMBLE_BYTES]) -> Option<u16> {
    (preamble[..4] == MAGIC).then(|| u16::from_le_bytes([preamble[4], preamble[5]]))
}

/// Appends a frame with this message to `out`.
///
/// # Errors
/// [`TooLarge`] when the body is over [`FRAME_BYTES_MAX`]; `out` is then as it was.
pub fn encode<M: Serialize>(out: &mut Vec<u8>, number: u64, message: &M) -> Result<(), TooLarge> {
    encode_with(out, number, message, &[])
}

/// Appends a frame with this message and these stored batches behind it to `out`.
///
/// # Errors
/// As [`encode`].
pub fn encode_with<M: Serialize>(
    out: &mut Vec<u8>,
    number: u64,
    message: &M,
    batches: &[Bytes],
) -> Result<(), TooLarge> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let bytes = std::mem::take(out);
    *out = postcard::to_extend(message, bytes).expect("messages hold nothing that postcard cannot carry");
    for batch in batches {
        out.extend_from_slice(batch);
    }
    let length = out.len() - start - HEADER_BYTES;
    if let Err(error) = TooLarge::check("the frame", length, FRAME_BYTES_MAX, "send less at a time") {
        out.truncate(start);
        return Err(error);
    }
    out[start + 8..start + 16].copy_from_slice(&number.to_le_bytes());
    let sum = crc32c::crc32c(&out[start + 8..]);
    out[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

/// A frame that was read: its number and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the message belongs to.
    pub number: u64,
    /// The message and what follows it.
    pub body: Bytes,
}

impl Frame {
    /// The message, and what stands behind it.
    ///
    /// # Errors
    /// What postcard says of bytes that are not such a message.
    pub fn decode<M: DeserializeOwned>(&self) -> Result<(M, Bytes), String> {
        let (message, behind) =
            postcard::take_from_bytes::<M>(&self.body).map_err(|error| error.to_string())?;
        let behind = self.body.slice(self.body.len() - behind.len()..);
        Ok((message, behind))
    }
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// The body is too long. It is skipped; the connection can go on behind it.
    #[error("{0}")]
    TooLarge(TooLarge, u64),
    /// The body is too long even to be skipped: the connection must end.
    #[error("a frame of {0} bytes: this is no client of ours, or it is broken")]
    Absurd(usize),
    /// The checksum does not fit: the connection must end.
    #[error("a frame's checksum does not fit: the bytes were changed on their way")]
    Checksum,
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: BytesMut,
    skip: usize,
}

impl FrameReader {
    /// Where bytes that arrive are to be put.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next frame, if all of it is there.
    ///
    /// # Errors
    /// [`BadFrame`]; after [`BadFrame::TooLarge`] reading may go on, after the others not.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, BadFrame> {
        let skipped = self.skip.min(self.buffer.len());
        self.buffer.advance(skipped);
        self.skip -= skipped;
        if self.skip > 0 || self.buffer.len() < HEADER_BYTES {
            return Ok(None);
        }
        let field = |at: usize| u32::from_le_bytes(self.buffer[at..at + 4].try_into().expect("four bytes"));
        let (length, expected) = (field(0) as usize, field(4));
        let number = u64::from_le_bytes(self.buffer[8..16].try_into().expect("eight bytes"));
        if length > FRAME_BYTES_SKIPPED_MAX {
            return Err(BadFrame::Absurd(length));
        }
        if let Err(error) = TooLarge::check("the frame", length, FRAME_BYTES_MAX, "send less at a time") {
            self.skip = HEADER_BYTES + length;
            return Err(BadFrame::TooLarge(error, number));
        }
        if self.buffer.len() < HEADER_BYTES + length {
            self.buffer.reserve(HEADER_BYTES + length - self.buffer.len());
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(HEADER_BYTES + length).freeze();
        if crc32c::crc32c(&frame[8..]) != expected {
            return Err(BadFrame::Checksum);
        }
        frame.advance(HEADER_BYTES);
        Ok(Some(Frame { number, body: frame }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut_of_the_stream() {
        let mut bytes = Vec::new();
        encode(&mut bytes, 1, &"first").unwrap();
        encode_with(&mut bytes, 2, &7u64, &[Bytes::from_static(b"behind")]).unwrap();
        for piece in 1..bytes.len() {
            let mut reader = FrameReader::default();
            let mut frames = Vec::new();
            for chunk in bytes.chunks(piece) {
                reader.buffer().extend_from_slice(chunk);
                while let Some(frame) = reader.next_frame().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames[0].decode::<String>().unwrap(), ("first".to_owned(), Bytes::new()));
            assert_eq!(frames[1].decode::<u64>().unwrap(), (7, Bytes::from_static(b"behind")));
            assert_eq!((frames[0].number, frames[1].number, frames.len()), (1, 2, 2));
        }
    }

    #[test]
    fn a_frame_that_is_too_large_is_skipped_and_the_next_one_read() {
        let mut reader = FrameReader::default();
        let length = FRAME_BYTES_MAX + 1;
        let mut head = [0; HEADER_BYTES];
        head[..4].copy_from_slice(&(length as u32).to_le_bytes());
        head[8] = 9;
        reader.buffer().extend_from_slice(&head);
        assert!(matches!(reader.next_frame(), Err(BadFrame::TooLarge(_, 9))));
        for _ in 0..length {
            reader.buffer().extend_from_slice(&[1]);
            assert_eq!(reader.next_frame(), Ok(None));
        }
        let mut next = Vec::new();
        encode(&mut next, 10, &()).unwrap();
        reader.buffer().extend_from_slice(&next);
        assert_eq!(reader.next_frame().unwrap().unwrap().number, 10);
    }

    #[test]
    fn a_changed_byte_ends_the_connection() {
        let mut bytes = Vec::new();
        encode(&mut bytes, 1, &"message").unwrap();
        for at in 4..bytes.len() {
            let mut reader = FrameReader::default();
            reader.buffer().extend_from_slice(&bytes);
            reader.buffer()[at] ^= 1;
            assert_eq!(reader.next_frame(), Err(BadFrame::Checksum), "byte {at}");
        }
    }

    #[test]
    fn an_absurd_length_ends_the_connection() {
        let mut reader = FrameReader::default();
        reader.buffer().extend_from_slice(b"GET / HTTP/1.1\r\n");
        assert!(matches!(reader.next_frame(), Err(BadFrame::Absurd(_))));
        assert_eq!(version_of(*b"GET / HT"), None);
        assert_eq!(version_of(preamble()), Some(WIRE_VERSION));
    }
}

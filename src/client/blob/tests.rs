use std::io::{BufRead, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::*;
use crate::protocol::{Digest, Payload};

/// Some bytes, more than a record has room for, so that they are in a file.
fn large() -> Vec<u8> {
    (0..3 * PAYLOAD_BYTES_MAX).map(|at| (at / 7) as u8).collect()
}

fn written(bytes: &[u8]) -> Blob {
    let mut writer = Blob::writer();
    for piece in bytes.chunks(10_007) {
        writer.write_all(piece).unwrap();
    }
    writer.finish().unwrap()
}

fn room(memory_bytes: u64, dir: Option<PathBuf>) -> Room {
    Room { memory_bytes, dir }
}

fn file_of(content: &Content) -> &Arc<TempFile> {
    match content {
        Content::File { file, .. } => file,
        Content::Memory(payload) => panic!("{payload:?} is in memory"),
    }
}

#[test]
fn what_was_written_is_read_be_it_in_memory_or_in_a_file() {
    for (bytes, place) in [(b"a\nb".to_vec(), "3 bytes in memory"), (large(), "180 KiB in a file")] {
        let blob = written(&bytes);
        assert_eq!(format!("{blob:?}"), format!("Blob({place})"));
        assert_eq!((blob.len(), blob.is_empty()), (bytes.len() as u64, false));
        assert_eq!(blob.to_bytes().unwrap(), bytes);
        // Two readers, each at a place of its own.
        let (mut one, mut other, mut read) = (blob.reader(), blob.reader(), Vec::new());
        assert_eq!(one.seek(SeekFrom::End(-1)).unwrap(), blob.len() - 1);
        other.read_to_end(&mut read).unwrap();
        assert_eq!(read, bytes);
        assert_eq!(one.fill_buf().unwrap(), &bytes[bytes.len() - 1..]);
        one.consume(1);
        assert_eq!(one.read(&mut [0; 4]).unwrap(), 0, "there is no more");
        assert_eq!(one.seek(SeekFrom::Start(1)).unwrap(), 1);
        assert_eq!(one.seek(SeekFrom::Current(1)).unwrap(), 2);
        assert_eq!(one.bytes().next().unwrap().unwrap(), bytes[2]);
        assert!(blob.reader().seek(SeekFrom::Current(-1)).is_err());
        assert_eq!(Blob::copy_of(&bytes[..]).unwrap().to_bytes().unwrap(), bytes);
    }
    assert!(Blob::writer().finish().unwrap().is_empty());
}

#[test]
fn a_file_is_passed_on_as_it_is() {
    let content = Content::encode(&written(&large()), &Room::MEMORY).unwrap();
    let blob: Blob = content.decode().unwrap();
    assert_eq!(blob.to_bytes().unwrap(), large());
    let again = Content::encode(&blob, &Room::MEMORY).unwrap();
    assert!(Arc::ptr_eq(file_of(&content), file_of(&again)));
    let described = again.describe().unwrap();
    let payload = again.into_payload().unwrap();
    assert_eq!((described.bytes, described.codec), (large().len() as u64 + 5, Codec::MessagePack));
    assert_eq!(described.digest, Digest::of_result(&payload.bytes));
}

#[test]
fn a_blob_and_bytes_are_the_same_to_who_reads_them() {
    for bytes in [b"few".to_vec(), large()] {
        let bytes = Bytes::from(bytes);
        let content = Content::encode(&written(&bytes), &room(0, None)).unwrap();
        assert_eq!(content.decode::<Bytes>().unwrap(), bytes);
        assert_eq!(
            content.clone().into_payload().unwrap().decode::<Blob>().unwrap().to_bytes().unwrap(),
            bytes
        );
        let content = Content::from(Payload::encode(&bytes).unwrap());
        assert_eq!(content.decode::<Blob>().unwrap().to_bytes().unwrap(), bytes);
        let content = Content::from(Payload::raw(bytes.clone()));
        assert_eq!(content.decode::<Blob>().unwrap().to_bytes().unwrap(), bytes);
    }
    let why = Content::from(Payload::encode(&1.5).unwrap()).decode::<Blob>().unwrap_err();
    assert!(why.starts_with("1.5 is not a headwater::client::blob::Blob: "), "{why}");
}

#[test]
fn any_value_that_has_no_room_is_encoded_in_a_file_and_decoded_from_there() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Named {
        name: String,
        numbers: Vec<f64>,
    }
    let value = Named { name: "x".repeat(500), numbers: (0..1000).map(f64::from).collect() };
    let content = Content::encode(&value, &room(1000, None)).unwrap();
    let file = file_of(&content);
    assert_eq!(file.bytes(), Payload::encode(&value).unwrap().bytes.len() as u64);
    assert_eq!(content.decode::<Named>().unwrap(), value);
    assert_eq!(content.clone().into_payload().unwrap(), Payload::encode(&value).unwrap());
    let why = content.decode::<u8>().unwrap_err();
    assert!(why.starts_with("a value of 9.2 KiB is not a u8: "), "{why}");
    assert!(matches!(Content::encode(&value, &room(20_000, None)).unwrap(), Content::Memory(_)));
}

#[test]
fn a_blob_inside_another_value_is_a_part_of_it() {
    let value = ("name".to_owned(), vec![written(b"few"), written(&large())]);
    let content = Content::encode(&value, &room(1000, None)).unwrap();
    let (name, blobs): (String, Vec<Blob>) = content.decode().unwrap();
    assert_eq!(name, "name");
    assert_eq!(blobs[0].to_bytes().unwrap(), &b"few"[..]);
    assert_eq!(blobs[1].to_bytes().unwrap(), large());
}

#[test]
fn what_no_disk_takes_is_in_memory_but_for_a_blob_that_says_so() {
    let gone = tempfile::tempdir().unwrap().path().join("gone");
    let content = Content::encode(&large(), &room(1000, Some(gone.clone()))).unwrap();
    assert!(matches!(content, Content::Memory(_)));
    assert_eq!(content.decode::<Vec<u8>>().unwrap(), large());
    let error = Blob::writer_in(gone).write_all(&large()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

//! Changes one thing in a file and leaves everything else right.

use super::Files;

/// One change. Paths of boxes are as in `moov/trak/tkhd`; offsets count from the start of the
/// box's body, negative ones from its end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// The first occurrence of a text becomes another.
    Text(&'static str, &'static str),
    /// Every occurrence does.
    Everywhere(&'static str, &'static str),
    /// Bytes before the file.
    Before(&'static [u8]),
    /// The file holds this text.
    Write(&'static str),
    /// Two lines change places.
    Swap(&'static str, &'static str),
    Set(&'static str, i32, &'static [u8]),
    Xor(&'static str, i32, u8),
    Remove(&'static str),
    Twice(&'static str),
    Rename(&'static str, &'static [u8; 4]),
    /// Zeroes at the end of a box.
    Grow(&'static str, usize),
    /// The size in the header alone.
    Size(&'static str, i32),
    /// An empty box at the end of a container; `""` is the file.
    Insert(&'static str, &'static [u8; 4]),
    /// A box at the top becomes the first.
    First(&'static str),
    /// A bit of the first NAL unit of a type, by byte.
    Nal(u8, usize, u8),
    /// The file is gone.
    Delete,
    /// The file holds what another does.
    Copy(&'static str),
    /// The file ends so many bytes earlier.
    Cut(usize),
}

/// Changes the file that `name` stands for.
pub(crate) fn apply(set: &mut Files, name: &str, change: &Change) {
    let path = set.path(name);
    if let Change::Delete = change {
        set.0.remove(&path);
        return;
    }
    if let Change::Copy(other) = change {
        let bytes = set.0[&set.path(other)].clone();
        set.0.insert(path, bytes);
        return;
    }
    let bytes = set.0.get_mut(&path).unwrap();
    match *change {
        Change::Text(from, to) => *bytes = text(bytes).replacen(from, to, 1).into(),
        Change::Everywhere(from, to) => *bytes = text(bytes).replace(from, to).into(),
        Change::Before(start) => *bytes = [start, bytes].concat(),
        Change::Swap(a, b) => {
            let swapped = text(bytes).replacen(a, "\0", 1).replacen(b, a, 1);
            *bytes = swapped.replacen('\0', b, 1).into();
        }
        Change::Write(whole) => *bytes = whole.into(),
        Change::Cut(count) => bytes.truncate(bytes.len() - count),
        Change::Nal(kind, offset, mask) => {
            let at = nal(bytes, kind);
            bytes[at + offset] ^= mask;
        }
        ref change => operate(bytes, change),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Where a box and the boxes around it begin and end, outermost first.
fn locate(bytes: &[u8], path: &str) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let (mut at, mut end) = (0, bytes.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        loop {
            assert!(at < end, "there is no {path}");
            let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
            if &bytes[at + 4..at + 8] == part.as_bytes() {
                found.push((at, at + size));
                end = at + size;
                at += 8 + fields_before_children(part);
                break;
            }
            at += size;
        }
    }
    found
}

fn fields_before_children(kind: &str) -> usize {
    match kind {
        "stsd" | "dref" => 8,
        "avc1" => 78,
        "mp4a" => 28,
        _ => 0,
    }
}

/// The body of a box.
pub(crate) fn body(bytes: &[u8], path: &str) -> Vec<u8> {
    let (start, end) = *locate(bytes, path).last().unwrap();
    bytes[start + 8..end].to_vec()
}

fn operate(bytes: &mut Vec<u8>, change: &Change) {
    let (Change::Set(path, ..)
    | Change::Xor(path, ..)
    | Change::Remove(path)
    | Change::Twice(path)
    | Change::Rename(path, _)
    | Change::Grow(path, _)
    | Change::Size(path, _)
    | Change::Insert(path, _)
    | Change::First(path)) = *change
    else {
        unreachable!("{change:?} is none of a box");
    };
    let boxes = locate(bytes, path);
    let (start, end) = boxes.last().copied().unwrap_or((0, bytes.len()));
    let place = |offset: i32| {
        let base = if offset < 0 { end } else { start + 8 };
        base.checked_add_signed(offset as isize).unwrap()
    };
    let own = bytes[start..end].to_vec();
    let parents = &boxes[..boxes.len().saturating_sub(1)];
    match *change {
        Change::Set(_, offset, new) => {
            bytes[place(offset)..][..new.len()].copy_from_slice(new);
        }
        Change::Xor(_, offset, mask) => bytes[place(offset)] ^= mask,
        Change::Rename(_, kind) => bytes[start + 4..start + 8].copy_from_slice(kind),
        Change::Size(_, delta) => resize(bytes, &[(start, end)], delta),
        Change::Remove(_) => {
            resize(bytes, parents, -i32::try_from(own.len()).unwrap());
            bytes.drain(start..end);
        }
        Change::Twice(_) => {
            resize(bytes, parents, i32::try_from(own.len()).unwrap());
            bytes.splice(end..end, own);
        }
        Change::Grow(_, count) => {
            resize(bytes, &boxes, i32::try_from(count).unwrap());
            bytes.splice(end..end, vec![0; count]);
        }
        Change::Insert(_, kind) => {
            resize(bytes, &boxes, 8);
            bytes.splice(end..end, [&[0, 0, 0, 8][..], kind].concat());
        }
        Change::First(_) => {
            bytes.drain(start..end);
            bytes.splice(0..0, own);
        }
        _ => unreachable!("{change:?} is none of a box"),
    }
}

fn resize(bytes: &mut [u8], boxes: &[(usize, usize)], delta: i32) {
    for (start, _) in boxes {
        let size = u32::from_be_bytes(bytes[*start..start + 4].try_into().unwrap());
        let size = size.checked_add_signed(delta).unwrap();
        bytes[*start..start + 4].copy_from_slice(&size.to_be_bytes());
    }
}

/// Where the first NAL unit of a type begins.
fn nal(bytes: &[u8], kind: u8) -> usize {
    let (start, end) = locate(bytes, "mdat")[0];
    let mut at = start + 8;
    while at < end {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        if bytes[at + 4] & 0x1f == kind {
            return at + 4;
        }
        at += 4 + length;
    }
    panic!("there is no NAL unit of type {kind}");
}

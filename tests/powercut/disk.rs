//! A disk as POSIX promises it: what is written is there, but only what was synced stays when the power goes. A file's
//! sync covers its content, a folder's sync the names in it. Pieces of what was not synced may have arrived in any
//! order; the names of one folder arrive in order, as journals keep them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::random::Random;

/// What the shim noted of one call.
pub(crate) struct Note {
    pub(crate) kind: u8,
    number: u64,
    /// Below the traced folder.
    path: String,
    pub(crate) data: Vec<u8>,
}

impl Note {
    /// Whether this is the writer's own word, not the store's doing.
    pub(crate) fn is_event(&self) -> bool {
        self.path == "events" && self.kind == b'W'
    }

    pub(crate) fn is_acknowledgement(&self) -> bool {
        self.is_event() && self.data.starts_with(b"A")
    }
}

pub(crate) fn read_notes(trace: &Path, root: &Path) -> Vec<Note> {
    let bytes = std::fs::read(trace).unwrap();
    let mut rest = bytes.as_slice();
    let mut notes = Vec::new();
    let below = |path: &[u8]| -> String {
        let path = Path::new(std::str::from_utf8(path).unwrap());
        path.strip_prefix(root).unwrap().to_str().unwrap().trim_end_matches(" (deleted)").to_owned()
    };
    while !rest.is_empty() {
        let length = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().unwrap()) as usize;
        let (path, data) = (length(9), length(13));
        let kind = rest[0];
        let content = &rest[17 + path..17 + path + data];
        notes.push(Note {
            kind,
            number: u64::from_ne_bytes(rest[1..9].try_into().unwrap()),
            path: below(&rest[17..17 + path]),
            data: if kind == b'R' { below(content).into_bytes() } else { content.to_vec() },
        });
        rest = &rest[17 + path + data..];
    }
    notes
}

/// How many bytes of the database were written over bytes written before.
pub(crate) fn overwritten(notes: &[Note]) -> usize {
    let (mut written, mut again) = (Vec::new(), 0);
    for note in notes.iter().filter(|note| note.kind == b'W' && note.path == "store/data/db") {
        let start = usize::try_from(note.number).unwrap();
        let end = start + note.data.len();
        written.resize(written.len().max(end), false);
        again += written[start..end].iter().filter(|before| **before).count();
        written[start..end].fill(true);
    }
    again
}

/// How much of what was not synced an image holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Variant {
    Synced,
    Everything,
    Part,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
    Link(String, usize),
    Unlink(String),
    Rename(String, String),
}

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    names: BTreeMap<String, usize>,
}

impl Content {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(offset, data) => {
                let end = offset + data.len();
                if self.bytes.len() < end {
                    self.bytes.resize(end, 0);
                }
                self.bytes[*offset..end].copy_from_slice(data);
            }
            Change::Truncate(length) => self.bytes.resize(*length, 0),
            Change::Link(name, node) => drop(self.names.insert(name.clone(), *node)),
            Change::Unlink(name) => drop(self.names.remove(name)),
            Change::Rename(from, to) => {
                if let Some(node) = self.names.remove(from) {
                    self.names.insert(to.clone(), node);
                }
            }
        }
    }
}

/// A file or a folder.
struct Node {
    folder: bool,
    durable: Content,
    /// Not synced, with the number of the note.
    pending: Vec<(usize, Change)>,
    /// The names as the program sees them.
    names: BTreeMap<String, usize>,
}

impl Node {
    fn new(folder: bool) -> Self {
        Self { folder, durable: Content::default(), pending: Vec::new(), names: BTreeMap::new() }
    }
}

/// The disk; node 0 is the traced folder.
pub(crate) struct Disk {
    nodes: Vec<Node>,
    clock: usize,
    /// Syncs that are under way: what, and since when.
    syncs: BTreeMap<u64, (usize, usize)>,
}

impl Default for Disk {
    fn default() -> Self {
        Self { nodes: vec![Node::new(true)], clock: 0, syncs: BTreeMap::new() }
    }
}

impl Disk {
    pub(crate) fn apply(&mut self, note: &Note) {
        self.clock += 1;
        if note.path == "events" {
            return;
        }
        let number = usize::try_from(note.number).unwrap();
        match note.kind {
            b'C' | b'D' => self.make(&note.path, note.kind == b'D'),
            b'W' => self.change(&note.path, Change::Write(number, note.data.clone())),
            b'T' => self.change(&note.path, Change::Truncate(number)),
            b'B' => drop(self.find(&note.path).map(|node| self.syncs.insert(note.number, (node, self.clock)))),
            b'E' => self.synced(note.number),
            b'U' => {
                let (folder, name) = self.parent(&note.path);
                self.nodes[folder].names.remove(&name);
                self.nodes[folder].pending.push((self.clock, Change::Unlink(name)));
            }
            b'R' => {
                let ((folder, from), (other, to)) =
                    (self.parent(&note.path), self.parent(std::str::from_utf8(&note.data).unwrap()));
                assert_eq!(folder, other, "renaming between folders is not modelled");
                let node = self.nodes[folder].names.remove(&from).unwrap();
                self.nodes[folder].names.insert(to.clone(), node);
                self.nodes[folder].pending.push((self.clock, Change::Rename(from, to)));
            }
            other => panic!("a note of kind {other}"),
        }
    }

    fn find(&self, path: &str) -> Option<usize> {
        path.split('/')
            .filter(|name| !name.is_empty())
            .try_fold(0, |node: usize, name| self.nodes[node].names.get(name).copied())
    }

    fn parent(&self, path: &str) -> (usize, String) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.find(folder).unwrap_or_else(|| panic!("no folder {folder}")), name.to_owned())
    }

    fn make(&mut self, path: &str, folder: bool) {
        if self.find(path).is_none() {
            let (parent, name) = self.parent(path);
            self.nodes.push(Node::new(folder));
            let node = self.nodes.len() - 1;
            self.nodes[parent].names.insert(name.clone(), node);
            self.nodes[parent].pending.push((self.clock, Change::Link(name, node)));
        }
    }

    fn change(&mut self, path: &str, change: Change) {
        // A file without a name any more leaves nothing.
        if let Some(node) = self.find(path) {
            self.nodes[node].pending.push((self.clock, change));
        }
    }

    fn synced(&mut self, number: u64) {
        if let Some((node, since)) = self.syncs.remove(&number) {
            let node = &mut self.nodes[node];
            let covered = node.pending.partition_point(|(at, _)| *at < since);
            for (_, change) in node.pending.drain(..covered) {
                node.durable.apply(&change);
            }
        }
    }

    /// Builds what the disk may hold if the power goes now.
    pub(crate) fn write_image(&self, image: &Path, variant: Variant, random: &mut Random) {
        if image.exists() {
            std::fs::remove_dir_all(image).unwrap();
        }
        std::fs::create_dir(image).unwrap();
        self.write_folder(0, image, variant, random);
        // The parent's sync is the store's duty only for a folder that it made.
        std::fs::create_dir_all(image.join("store")).unwrap();
    }

    fn write_folder(&self, folder: usize, to: &Path, variant: Variant, random: &mut Random) {
        for (name, node) in &self.left(folder, variant, random).names {
            let path = to.join(name);
            if self.nodes[*node].folder {
                std::fs::create_dir(&path).unwrap();
                self.write_folder(*node, &path, variant, random);
            } else {
                write_file(&path, &self.left(*node, variant, random).bytes);
            }
        }
    }

    /// What is left of a node.
    fn left(&self, node: usize, variant: Variant, random: &mut Random) -> Content {
        let node = &self.nodes[node];
        let mut content = node.durable.clone();
        let changes = node.pending.iter().map(|(_, change)| change);
        match variant {
            Variant::Synced => {}
            Variant::Everything => changes.for_each(|change| content.apply(change)),
            Variant::Part if node.folder => {
                changes.take(random.below(node.pending.len() + 1)).for_each(|change| content.apply(change));
            }
            Variant::Part => {
                let of_ten = [1, 5, 9][random.below(3)];
                changes.flat_map(pieces).filter(|_| random.below(10) < of_ten).for_each(|piece| content.apply(&piece));
            }
        }
        content
    }
}

/// Of a write, what a disk may do or leave undone on its own: pages, and the sectors of every eighth one.
fn pieces(change: &Change) -> Vec<Change> {
    let Change::Write(offset, data) = change else { return vec![change.clone()] };
    let mut pieces = Vec::new();
    let mut at = *offset;
    while at < offset + data.len() {
        let grain = if (at / 4096).is_multiple_of(8) { 512 } else { 4096 };
        let end = ((at / grain + 1) * grain).min(offset + data.len());
        pieces.push(Change::Write(at, data[at - offset..end - offset].to_vec()));
        at = end;
    }
    pieces
}

/// Writes a file with holes where it is empty.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) {
    let file = File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (index, block) in bytes.chunks(4096).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, index as u64 * 4096).unwrap();
        }
    }
}

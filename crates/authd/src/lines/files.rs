//! JSON lines in a few files, each named for the number of its first line.
//!
//! The number is in the name so that the order needs no clock and rotating renames nothing: whoever
//! reads meanwhile misses at most a file that has just been removed. A line that does not read as what it
//! should be is passed over: a crash or a full disk may have torn it.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Line;

/// Bytes of one file.
const FILE_BYTES: u64 = 1024 * 1024;
/// What a file is read up to: one that somebody else made larger is not taken into memory whole.
const READ_BYTES: u64 = 2 * FILE_BYTES;
const ENDING: &str = ".jsonl";

/// The folder.
#[derive(Debug)]
pub(crate) struct Files<L> {
    folder: PathBuf,
    /// So many of them at most.
    most: usize,
    of: PhantomData<fn() -> L>,
}

impl<L> Clone for Files<L> {
    fn clone(&self) -> Self {
        Self {
            folder: self.folder.clone(),
            ..*self
        }
    }
}

impl<L: Line> Files<L> {
    /// In `folder`, at most `most` files of 1 MiB each.
    pub(crate) fn new(folder: PathBuf, most: usize) -> Self {
        Self {
            folder,
            most,
            of: PhantomData,
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files with the number each begins with, oldest first. No folder is no file.
    pub(super) fn list(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let first = name.to_str().and_then(|name| name.strip_suffix(ENDING));
            if let Some(first) = first.and_then(|first| first.parse().ok()) {
                files.push((first, entry.path()));
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    /// The greatest number that was ever written here, as far as can be told; 0 where none was.
    pub(super) fn last_seq(&self) -> io::Result<u64> {
        let Some((first, path)) = self.list()?.pop() else {
            return Ok(0);
        };
        let last = lines::<L>(&path)?.last().map_or(0, Line::seq);
        Ok(last.max(first))
    }

    /// The lines with numbers in `after + 1 .. before`, file by file: the newest file first when
    /// `newest`, within a file oldest first. Ends when `take` has enough and says so by `false`.
    pub(super) fn read(
        &self,
        after: u64,
        before: u64,
        newest: bool,
        mut take: impl FnMut(Vec<L>) -> bool,
    ) -> io::Result<()> {
        let files = self.list()?;
        let ends = files.iter().skip(1).map(|(first, _)| *first);
        let mut spans: Vec<_> = files.iter().zip(ends.chain([u64::MAX])).collect();
        spans.retain(|((first, _), end)| *first < before && *end > after.saturating_add(1));
        if newest {
            spans.reverse();
        }
        for ((_, path), _) in spans {
            let mut found = match lines::<L>(path) {
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            found.retain(|line| line.seq() > after && line.seq() < before);
            if !take(found) {
                break;
            }
        }
        Ok(())
    }
}

/// Every line of a file that reads as what it should be.
fn lines<L: Line>(path: &Path) -> io::Result<Vec<L>> {
    let mut bytes = Vec::new();
    open(path, File::options().read(true))?
        .take(READ_BYTES)
        .read_to_end(&mut bytes)?;
    let lines = bytes.split(|byte| *byte == b'\n');
    Ok(lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

/// Opens a file of ours: no link is followed.
fn open(path: &Path, options: &mut fs::OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NOFOLLOW.bits();
        options.mode(0o600).custom_flags(flags.cast_signed());
    }
    options.open(path)
}

/// Adds to the newest file, begins another when it is full, and removes the oldest then.
pub(super) struct Appender<L> {
    files: Files<L>,
    /// The newest file and its length; `None` before the first write and after a failed one.
    current: Option<(File, u64)>,
}

impl<L: Line> Appender<L> {
    pub(super) fn new(files: Files<L>) -> Self {
        let current = None;
        Self { files, current }
    }

    /// Writes these lines, in one write where they fit one file. Nothing is synced: no line is worth a
    /// disk's time.
    ///
    /// # Errors
    /// What the disk said, and how many of the lines are not written.
    pub(super) fn append(&mut self, lines: &[Arc<L>]) -> Result<(), (usize, io::Error)> {
        let mut done = 0;
        while done < lines.len() {
            match self.append_to_one(&lines[done..]) {
                Ok(written) => done += written,
                Err(error) => {
                    // How much of it arrived is not known; the next write looks.
                    self.current = None;
                    return Err((lines.len() - done, error));
                }
            }
        }
        Ok(())
    }

    /// Writes as many as one file takes, at least one.
    fn append_to_one(&mut self, lines: &[Arc<L>]) -> io::Result<usize> {
        let first = lines.first().map_or(0, |line| line.seq());
        let (mut file, length) = match self.current.take() {
            Some(current) => current,
            None => self.newest(first)?,
        };
        let mut text = Vec::new();
        let mut count = 0;
        for line in lines {
            let before = text.len();
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
            if length + text.len() as u64 > FILE_BYTES && (length > 0 || count > 0) {
                text.truncate(before);
                break;
            }
            count += 1;
        }
        if count == 0 {
            self.current = Some(self.begin(first)?);
            return Ok(0);
        }
        file.write_all(&text)?;
        self.current = Some((file, length + text.len() as u64));
        Ok(count)
    }

    /// The newest file as it is found, its last line ended; `first` begins one where there is none.
    fn newest(&self, first: u64) -> io::Result<(File, u64)> {
        let Some((_, path)) = self.files.list()?.pop() else {
            return self.begin(first);
        };
        let mut file = open(&path, File::options().read(true).append(true))?;
        let mut length = file.metadata()?.len();
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                length += 1;
            }
        }
        Ok((file, length))
    }

    /// A new file, after the oldest have made room for it.
    fn begin(&self, first: u64) -> io::Result<(File, u64)> {
        private_folder(self.files.folder())?;
        let files = self.files.list()?;
        let surplus = (files.len() + 1).saturating_sub(self.files.most);
        for (_, path) in &files[..surplus] {
            fs::remove_file(path)?;
        }
        let path = self.files.folder().join(format!("{first:020}{ENDING}"));
        let file = open(&path, File::options().append(true).create(true))?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }
}

fn private_folder(path: &Path) -> io::Result<()> {
    #[cfg_attr(
        not(unix),
        expect(unused_mut, reason = "the folder has what its parent gives it")
    )]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use authd_proto::event::{Event, EventKind};

    use super::*;

    const FILES: usize = 4;

    fn event(seq: u64, message: &str) -> Arc<Event> {
        let mut event = Event::new(seq, 1_800_000_000, EventKind::Exchange);
        event.message = Some(message.to_owned());
        Arc::new(event)
    }

    fn folder() -> (tempfile::TempDir, Files<Event>) {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path().join("events"), FILES);
        (dir, files)
    }

    fn read(files: &Files<Event>, after: u64, before: u64) -> Vec<u64> {
        let mut seqs = Vec::new();
        let take = |events: Vec<Event>| {
            seqs.extend(events.iter().map(|event| event.seq));
            true
        };
        files.read(after, before, false, take).unwrap();
        seqs
    }

    fn bytes(files: &Files<Event>) -> u64 {
        let files = files.list().unwrap();
        files
            .iter()
            .map(|(_, path)| fs::metadata(path).unwrap().len())
            .sum()
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let (_dir, files) = folder();
        let mut appender = Appender::new(files.clone());
        let text = "x".repeat(900);
        for batch in 0..300_u64 {
            let events: Vec<_> = (1..=50).map(|n| event(batch * 50 + n, &text)).collect();
            appender.append(&events).unwrap();
            assert!(bytes(&files) <= FILES as u64 * FILE_BYTES);
        }
        assert_eq!(files.list().unwrap().len(), FILES);
        let kept = read(&files, 0, u64::MAX);
        assert!(
            kept.len() > 3000,
            "nearly four files' worth: {}",
            kept.len()
        );
        let expected: Vec<u64> = (15_001 - kept.len() as u64..=15_000).collect();
        assert_eq!(kept, expected, "without a gap");
        assert_eq!(files.last_seq().unwrap(), 15_000);
        assert_eq!(read(&files, 14_990, 14_993), [14_991, 14_992]);
    }

    #[test]
    fn a_torn_last_line_costs_no_other() {
        let (_dir, files) = folder();
        Appender::new(files.clone())
            .append(&[event(1, "one"), event(2, "two")])
            .unwrap();
        let (_, path) = files.list().unwrap().pop().unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(fs::metadata(&path).unwrap().len() - 7)
            .unwrap();
        assert_eq!(files.last_seq().unwrap(), 1);
        Appender::new(files.clone())
            .append(&[event(1_000_000, "three")])
            .unwrap();
        assert_eq!(read(&files, 0, u64::MAX), [1, 1_000_000]);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_reads_it_and_no_link_is_followed() {
        use std::os::unix::fs::PermissionsExt as _;
        let (dir, files) = folder();
        Appender::new(files.clone())
            .append(&[event(5, "a")])
            .unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (_, path) = files.list().unwrap().pop().unwrap();
        assert_eq!((mode(files.folder()), mode(&path)), (0o700, 0o600));
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "").unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(Appender::new(files).append(&[event(6, "b")]).is_err());
        assert_eq!(fs::read(&elsewhere).unwrap(), b"");
    }

    #[test]
    fn a_failed_write_is_counted_and_the_next_begins_anew() {
        let (dir, files) = folder();
        fs::write(dir.path().join("events"), "in the way").unwrap();
        let mut appender = Appender::new(files.clone());
        let (lost, _) = appender
            .append(&[event(1, "a"), event(2, "b")])
            .unwrap_err();
        assert_eq!(lost, 2);
        fs::remove_file(dir.path().join("events")).unwrap();
        appender.append(&[event(3, "c")]).unwrap();
        assert_eq!(read(&files, 0, u64::MAX), [3]);
    }
}

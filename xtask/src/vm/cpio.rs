//! Writes the archive format of an initramfs ("newc", Linux Documentation/driver-api/early-userspace/buffer-format.rst).

/// An archive in the making.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

impl Archive {
    /// Adds an empty folder; those above it must be added first.
    pub fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER, &[]);
    }

    /// Adds a file that may be executed.
    pub fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, PROGRAM, content);
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let length = u32::try_from(content.len()).expect("a kernel module is smaller than 4 GiB");
        let name_length = u32::try_from(name.len() + 1).expect("names are short");
        // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name, checksum
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            length,
            0,
            0,
            0,
            0,
            name_length,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn an_archive_has_the_documented_bytes() {
        let mut archive = Archive::default();
        archive.folder("bin");
        archive.program("bin/a", b"hello");
        let bytes = archive.finish();
        let text = String::from_utf8(bytes).expect("all text here");
        let wanted = "07070100000001000041ed00000000000000000000000100000000000000000000000000000000000000000000000000000004 00000000bin\0\0\0\
             07070100000002000081ed00000000000000000000000100000000000000050000000000000000000000000000000000000006 00000000bin/a\0hello\0\0\0\
             07070100000003000000000000000000000000000000010000000000000000000000000000000000000000000000000000000b 00000000TRAILER!!!\0\0\0\0"
            .replace(' ', "");
        assert_eq!(text.len() % 4, 0);
        assert_eq!(text, wanted);
    }
}

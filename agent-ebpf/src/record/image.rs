//! The key of an image's masks in a record's buffer.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use rampart_common::pushdown::{IMAGE_PATH_BYTES, ImageKey, ProcessEntry};

use super::{OpenAttr, Record, write};

impl Record {
    /// The key for the look-up of an image's masks.
    #[inline(always)]
    pub(crate) fn image<'a>(self) -> &'a mut ImageKey {
        &mut self.get_mut().image
    }

    /// Masks on their way to a process.
    #[inline(always)]
    pub(crate) fn entry<'a>(self) -> &'a mut ProcessEntry {
        &mut self.get_mut().entry
    }

    /// Puts the payload of the attribute written last into the key of the image, as its path.
    #[inline(always)]
    pub(crate) fn set_image_path(self, attr: OpenAttr) {
        let (len, start) = (self.filled(), attr.payload());
        let key = self.image();
        key.path_len = 0;
        if len > IMAGE_PATH_BYTES as u64 {
            return;
        }
        #[expect(
            clippy::cast_ptr_alignment,
            reason = "the key is aligned like a word, and the path begins at a multiple of one"
        )]
        let words = (&raw mut key.path).cast::<u64>();
        for at in 0..IMAGE_PATH_BYTES / 8 {
            write(words.wrapping_add(at), 0);
        }
        // SAFETY: the path has room for `len` bytes; the source is inside the buffer, whatever the helper reads.
        unsafe { bpf_probe_read_kernel(words.cast(), len as u32, self.at(start).cast_const().cast()) };
        key.path_len = len as u32;
    }
}

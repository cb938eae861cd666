//! How large the verified program is: for the benchmark, and for whoever changes the program.

use std::io;

use super::Program;

/// Measures of the program as the kernel holds it. They depend on the [`LoadOptions`](super::LoadOptions): what is
/// switched off isn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramSize {
    /// Instructions that the verifier followed, of a million that it would; Linux 5.16 and newer tell.
    pub verified_instructions: u32,
    /// Bytes of BPF code without what the verifier removed.
    pub translated_bytes: u32,
    /// Bytes of machine code.
    pub jited_bytes: u32,
}

impl Program {
    /// How large the program is.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn size(&self) -> io::Result<ProgramSize> {
        let info = self.xdp().ok_or(io::ErrorKind::NotFound)?.info().map_err(io::Error::other)?;
        Ok(ProgramSize {
            verified_instructions: info.verified_instruction_count().unwrap_or(0),
            translated_bytes: info.size_translated().unwrap_or(0),
            jited_bytes: info.size_jitted(),
        })
    }
}

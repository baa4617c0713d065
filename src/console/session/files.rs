//! The list of paths of a session: `files`.

use std::sync::Arc;

use super::super::command::{Files, FilesEdit, Transfer};
use super::super::error::{Code, ErrorLine};
use super::Session;
use crate::name::RelPath;

impl Session {
    /// Adds to the list, or clears it.
    pub(super) fn edit_files(&mut self, edit: FilesEdit) {
        match edit {
            FilesEdit::Add(paths) => {
                if let Err(error) = self.files.add(paths) {
                    self.files.refused = true;
                    self.error(&error);
                }
            }
            FilesEdit::Clear => self.files.clear(),
        }
    }

    /// Gives a command that is about the list what is in it.
    ///
    /// # Errors
    /// The list is not what it was to be, or not for this path.
    pub(super) fn hand_files(&self, transfer: &mut Transfer) -> Result<(), ErrorLine> {
        let Some(Files { paths, whole }) = &mut transfer.files else { return Ok(()) };
        if self.files.refused {
            let why = "a path was refused: no list is sent before 'files clear'";
            return Err(ErrorLine::new(Code::InvalidPath, why));
        }
        let all = Arc::clone(&self.files.paths);
        if let Some(other) = all.iter().find(|path| !path.is_under(&transfer.path)) {
            let why = format!("not below {}", transfer.path);
            return Err(ErrorLine::here(other, Code::InvalidPath, why));
        }
        if *whole && all.iter().any(RelPath::is_base) {
            let why = "the whole base directory is -r without a list";
            return Err(ErrorLine::new(Code::Usage, why));
        }
        *paths = all;
        Ok(())
    }
}

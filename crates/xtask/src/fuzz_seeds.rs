//! The vectors as first inputs of the fuzz targets that read such texts.

use std::path::Path;
use std::{fs, io};

use serde_json::Value;

/// Where a file of vectors goes.
struct Seeds {
    file: &'static str,
    /// The lists in the file, and the member of each vector that is the text; empty if the vector is the
    /// text.
    lists: &'static [(&'static str, &'static str)],
    target: &'static str,
    /// What the target expects before the text.
    prefix: &'static str,
}

const SEEDS: &[Seeds] = &[
    Seeds {
        file: "spiffe-ids.json",
        lists: &[("valid", ""), ("invalid", "id")],
        target: "spiffe_id",
        prefix: "",
    },
    // The first byte says how the target reads the rest: as a token.
    Seeds { file: "access-tokens.json", lists: &[("tokens", "token")], target: "jwt", prefix: "t" },
    // As a note.
    Seeds { file: "checkpoints.json", lists: &[("checkpoints", "note")], target: "checkpoint", prefix: "n" },
];

/// Writes the vectors under `fuzz/corpus`, which `fuzz/run` reads. Returns how many.
pub(crate) fn write(root: &Path) -> io::Result<usize> {
    let mut count = 0;
    for seeds in SEEDS {
        let folder = root.join("fuzz/corpus").join(seeds.target);
        fs::create_dir_all(&folder)?;
        for (at, text) in texts(root, seeds)?.iter().enumerate() {
            fs::write(folder.join(format!("vector_{at}")), format!("{}{text}", seeds.prefix))?;
            count += 1;
        }
    }
    Ok(count)
}

fn texts(root: &Path, seeds: &Seeds) -> io::Result<Vec<String>> {
    let vectors: Value = serde_json::from_slice(&fs::read(root.join("vectors").join(seeds.file))?)?;
    let mut texts = Vec::new();
    for (list, member) in seeds.lists {
        let list = vectors.get(list).and_then(Value::as_array).into_iter().flatten();
        texts.extend(
            list.filter_map(|vector| vector.as_str().or_else(|| vector.get(member)?.as_str()))
                .map(str::to_owned),
        );
    }
    if texts.is_empty() {
        Err(io::Error::other(format!("vectors/{} has no vectors", seeds.file)))
    } else {
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::{SEEDS, texts};

    #[test]
    fn each_file_has_its_vectors_and_each_target_exists() {
        for seeds in SEEDS {
            let vectors = texts(crate::root(), seeds).unwrap();
            let least = if seeds.file == "checkpoints.json" { 15 } else { 30 };
            assert!(vectors.len() >= least, "{}: {}", seeds.file, vectors.len());
            assert!(
                crate::root().join("fuzz/targets").join(format!("{}.rs", seeds.target)).exists(),
                "{}",
                seeds.target
            );
        }
    }
}

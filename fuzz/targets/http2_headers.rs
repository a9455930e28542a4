//! The rewriting of HTTP/2 header blocks in front of the Workload API. Bytes that arrive in pieces give the
//! same result as in one piece; the output is bounded; and a connection that has ended stays ended.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mandate_node::Rewriter;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn rewritten(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let (mut rewriter, mut out) = (Rewriter::default(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (before, left) = (out.len(), rest.len());
            let was_over = rewriter.is_over();
            rewriter.advance(&mut rest, &mut out);
            assert!(rest.len() < left);
            // A header list, in frames, and what passes as it came.
            assert!(out.len() - before <= left + (96 << 10));
            assert!(!was_over || (rewriter.is_over() && out.len() == before));
        }
    }
    (out, rewriter.is_over())
}

fuzz_target!(|data: &[u8]| {
    let Some((at, bytes)) = data.split_first() else { return };
    let sent = [PREFACE, bytes].concat();
    let (head, tail) = sent.split_at(usize::from(*at).min(sent.len()));
    let whole = rewritten(&[&sent]);
    assert_eq!(rewritten(&[head, tail]), whole);
    let bytewise: Vec<&[u8]> = sent.chunks(1).collect();
    assert_eq!(rewritten(&bytewise), whole);
});

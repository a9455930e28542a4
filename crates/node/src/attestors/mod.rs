//! Attestors: each says, in selectors, what is true of a process. Each has a file here and a page in the
//! book.
//!
//! All of them inspect the same process, one after the other. Their selectors count only if that process is
//! then still the one that connected. If one of them cannot answer, the process is not attested at all.

mod attestor;
mod unix;

use std::sync::Arc;

use crate::caller::{AttestedProcess, Caller};
use crate::entitlement::Entitlements;
use crate::process::NotAttested;
use attestor::Attestor;
use unix::Unix;

/// The attestors of a node, in the order in which they are asked.
#[derive(Clone)]
pub(crate) struct Attestors(Arc<[Box<dyn Attestor>]>);

impl Attestors {
    /// Those of this build.
    pub(crate) fn of_this_build() -> Self {
        Self(Arc::new([Box::new(Unix::default())]))
    }

    /// What the caller shows now to all of them.
    pub(crate) async fn attest(
        &self,
        caller: &Caller,
        entitlements: &Entitlements,
    ) -> Result<AttestedProcess, NotAttested> {
        let process = caller.inspect().await?;
        let mut selectors = Vec::new();
        for attestor in self.0.iter() {
            let shown = attestor.attest(&process, entitlements).await;
            selectors.extend(shown.inspect_err(|why| {
                tracing::debug!(attestor = attestor.name(), pid = process.pid(), %why, "a process is not attested");
            })?);
        }
        process.finish(selectors).await
    }
}

#[cfg(test)]
mod tests {
    use super::{Attestor, Attestors};
    use crate::caller::{Caller, InspectedCaller};
    use crate::entitlement::Entitlements;
    use crate::looks::Looks;
    use crate::process::{self, NotAttested};
    use futures_util::future::{BoxFuture, FutureExt as _};
    use mandate_core::Selector;
    use mandate_core::selector::ATTESTORS;
    use rustix::process::{Pid, Signal, kill_process};
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::net::UnixStream;

    /// An attestor of these answers, which counts how often it is asked.
    struct Answers {
        answer: Result<&'static str, NotAttested>,
        asked: Arc<AtomicUsize>,
    }

    impl Attestor for Answers {
        fn name(&self) -> &'static str {
            "test"
        }

        fn attest<'a>(
            &'a self,
            _: &'a InspectedCaller<'a>,
            _: &'a Entitlements,
        ) -> BoxFuture<'a, Result<Vec<Selector>, NotAttested>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            async move { self.answer.map(|text| vec![text.parse().unwrap()]) }.boxed()
        }
    }

    /// An attestor during whose work the process exits.
    struct TakesTooLong;

    impl Attestor for TakesTooLong {
        fn name(&self) -> &'static str {
            "test"
        }

        fn attest<'a>(
            &'a self,
            process: &'a InspectedCaller<'a>,
            _: &'a Entitlements,
        ) -> BoxFuture<'a, Result<Vec<Selector>, NotAttested>> {
            async move {
                let pid = Pid::from_raw(process.pid().try_into().unwrap()).unwrap();
                kill_process(pid, Signal::KILL).unwrap();
                while process::born(process.pid()).is_ok() {
                    tokio::task::yield_now().await;
                }
                Ok(vec!["test:late:yes".parse().unwrap()])
            }
            .boxed()
        }
    }

    fn answering(answers: &[Result<&'static str, NotAttested>]) -> (Attestors, Vec<Arc<AtomicUsize>>) {
        let asked: Vec<Arc<AtomicUsize>> = answers.iter().map(|_| Arc::default()).collect();
        let one =
            |(answer, asked): (&Result<&'static str, NotAttested>, &Arc<AtomicUsize>)| -> Box<dyn Attestor> {
                Box::new(Answers { answer: *answer, asked: Arc::clone(asked) })
            };
        (Attestors(answers.iter().zip(&asked).map(one).collect()), asked)
    }

    fn this_process() -> Caller {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        Caller::of(&ours, &Looks::default()).unwrap()
    }

    #[test]
    fn the_attestors_of_this_build_are_those_that_entries_may_name() {
        let all = Attestors::of_this_build();
        assert_eq!(all.0.iter().map(|attestor| attestor.name()).collect::<Vec<_>>(), ATTESTORS);
    }

    #[tokio::test]
    async fn a_process_shows_what_all_attestors_say_in_their_order() {
        let (attestors, _) = answering(&[Ok("k8s:ns:prod"), Ok("docker:image:x"), Ok("a:b")]);
        let found = attestors.attest(&this_process(), &Entitlements::default()).await.unwrap();
        assert_eq!(found.texts(), ["k8s:ns:prod", "docker:image:x", "a:b"]);
    }

    #[tokio::test]
    async fn one_attestor_that_cannot_answer_refuses_the_caller_and_no_other_is_asked() {
        let (attestors, asked) = answering(&[Ok("k8s:ns:prod"), Err(NotAttested::Hidden), Ok("a:b")]);
        assert_eq!(
            attestors.attest(&this_process(), &Entitlements::default()).await.unwrap_err(),
            NotAttested::Hidden
        );
        assert_eq!(asked.iter().map(|asked| asked.load(Ordering::SeqCst)).collect::<Vec<_>>(), [1, 1, 0]);
    }

    #[tokio::test]
    async fn what_was_found_of_a_process_that_has_exited_meanwhile_counts_for_nothing() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let caller = Caller::of_child(&child).unwrap();
        let attestors = Attestors(Arc::new([Box::new(TakesTooLong)]));
        assert_eq!(
            attestors.attest(&caller, &Entitlements::default()).await.unwrap_err(),
            NotAttested::Exited
        );
        child.wait().unwrap();
    }
}

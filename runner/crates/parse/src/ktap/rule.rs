//! The cross-checks of the parser, each with a name.
//!
//! A contradiction is never a remark inside a pass: it is a case of its own, drawn by exactly one of these rules. The
//! tests switch each of them off in turn and must notice.

/// A way in which output can contradict itself, or hide a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// A number that the plan or a higher number promises has no result.
    Missing,
    /// More results than planned.
    Surplus,
    /// A second plan in one document.
    TwoPlans,
    /// Results before and after the plan.
    LatePlan,
    /// A TAP 14 document without a plan, which that version demands.
    NoPlan,
    /// A number comes twice.
    Repeated,
    /// A number comes too late, where the format demands their order (KTAP).
    Disorder,
    /// Some results have numbers and some have none.
    Unnumbered,
    /// Results without numbers in output that has neither a header nor a plan.
    Frameless,
    /// A line that may be meant as a failing result and is not a valid one.
    Malformed,
    /// The next result stands behind other text, and comes in no line of its own.
    Glued,
    /// A line that is not TAP where `pragma +strict` of TAP 14 forbids that.
    Strict,
    /// A failing result on stderr.
    Stderr,
    /// A result in more levels of groups than are read.
    TooDeep,
    /// A passing result whose line was cut: a directive may be missing.
    CutLine,
    /// Output is missing, and no plan tells whether a result is among it.
    CutOutput,
    /// A group is ok though a test in it is not.
    ParentOk,
    /// A group is not ok though every test in it is.
    ParentNotOk,
    /// A group ended without a result of its own.
    NoParentResult,
    /// A group that is ok was announced, and nothing is in it.
    Hollow,
    /// A TAP 14 subtest is ended by the result of another test.
    Mismatch,
    /// A YAML block without an end in which a result may be.
    Yaml,
    /// A test was announced and has no result.
    Unfinished,
    /// The program gave up.
    BailOut,
    /// A summary of another format says that something failed, and no result does.
    Summary,
    /// The exit status says that something failed, and no result does.
    ExitStatus,
    /// No result at all.
    NoResult,
    /// More test cases than are kept.
    TooMany,
}

impl Rule {
    /// All of them.
    #[cfg(test)]
    pub(super) const ALL: [Rule; 28] = [
        Rule::Missing,
        Rule::Surplus,
        Rule::TwoPlans,
        Rule::LatePlan,
        Rule::NoPlan,
        Rule::Repeated,
        Rule::Disorder,
        Rule::Unnumbered,
        Rule::Frameless,
        Rule::Malformed,
        Rule::Glued,
        Rule::Strict,
        Rule::Stderr,
        Rule::TooDeep,
        Rule::CutLine,
        Rule::CutOutput,
        Rule::ParentOk,
        Rule::ParentNotOk,
        Rule::NoParentResult,
        Rule::Hollow,
        Rule::Mismatch,
        Rule::Yaml,
        Rule::Unfinished,
        Rule::BailOut,
        Rule::Summary,
        Rule::ExitStatus,
        Rule::NoResult,
        Rule::TooMany,
    ];
}

/// The rules that hold: all of them, but for the one that a test switches off.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules {
    #[cfg(test)]
    pub(super) off: Option<Rule>,
}

impl Rules {
    /// Whether a rule holds.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "only tests switch a rule off"))]
    pub(super) fn hold(self, _rule: Rule) -> bool {
        #[cfg(test)]
        if self.off == Some(_rule) {
            return false;
        }
        true
    }
}

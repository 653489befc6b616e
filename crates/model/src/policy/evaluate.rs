//! What a policy says of a request ("Policy evaluation logic": an explicit deny wins, no match is silence).

use super::pattern::Case;
use super::principal::Grantee;
use super::{Effect, Matches, Principal, Principals, Request, Statement, Verdict};

pub(super) fn evaluate(statements: &[Statement], request: &Request<'_>) -> Verdict {
    let first = |effect| statements.iter().find(|s| s.effect == effect && s.matches(request)).map(|s| s.name.clone());
    if let Some(statement) = first(Effect::Deny) {
        return Verdict::Deny { statement };
    }
    first(Effect::Allow).map_or(Verdict::Silent, |statement| Verdict::Allow { statement })
}

impl Statement {
    fn matches(&self, request: &Request<'_>) -> bool {
        self.matches_principal(request)
            && self.action.matches(|p| p.matches(request.action, Case::Ignored, &|_| None))
            && self.resource.matches(|p| p.matches_arn(request.resource, true, request.context))
            && self.conditions.iter().all(|c| c.holds(request.context))
    }

    fn matches_principal(&self, request: &Request<'_>) -> bool {
        let names = |all: &[Grantee], principal| all.iter().any(|g| g.is(principal, request.context));
        let account = match request.principal {
            Principal::User { account, .. } => Some(Principal::Account(account)),
            Principal::Anonymous | Principal::Account(_) | Principal::Service(_) => None,
        };
        match (&self.principal, self.effect) {
            (Principals::Attached, _) => true,
            (Principals::Of(all), Effect::Allow) => names(all, request.principal),
            (Principals::Of(all), Effect::Deny) => names(all, request.principal) || account.is_some_and(|a| names(all, a)),
            // "You must also specify the account ARN of the not-denied principal": sparing a user takes both names. Parsing refuses
            // it with Allow.
            (Principals::NotOf(all), Effect::Allow | Effect::Deny) => {
                !names(all, request.principal) || account.is_some_and(|a| !names(all, a))
            }
        }
    }
}

impl Matches {
    fn matches(&self, test: impl Fn(&super::Pattern) -> bool) -> bool {
        self.patterns.iter().any(test) != self.negated
    }
}

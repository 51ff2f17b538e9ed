//! A condition compiles or is rejected. The evaluation of a compiled condition terminates, with the same
//! result each time.
//!
//! Input: the expression.

use http::Request;
use towergate_policy::authorization::{
    Access, AccessExpression, AccessRule, AuthorizationRules, Condition, OperationMatch,
    PrincipalMatch, Subject,
};
use towergate_policy::jwt::VerifiedTokens;

/// Checks the property for one input.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(expression) = text.parse::<AccessExpression>() else {
        return;
    };
    let request = Request::get("/a/b?c=d").header("host", "a.test").body(());
    let (head, ()) = request.expect("the request is valid").into_parts();
    let subject = Subject {
        head: &head,
        version: head.version,
        client: Some([192, 0, 2, 1].into()),
        connection: None,
        tokens: &VerifiedTokens::default(),
        databases: None,
    };
    let rules = |access, default| AuthorizationRules {
        rules: vec![AccessRule {
            name: String::new(),
            access,
            principal: PrincipalMatch::default(),
            operation: OperationMatch::default(),
            condition: Some(Condition {
                expression: expression.clone().into(),
                providers: Vec::new(),
            }),
        }],
        default,
        databases: Vec::new(),
    };
    let allow = rules(Access::Allow, Access::Deny);
    let deny = rules(Access::Deny, Access::Allow);
    assert_eq!(allow.decide(&subject), allow.decide(&subject));
    // If the allowing rule matches, the expression is true, so the denying rule must match too.
    if allow.decide(&subject) == Access::Allow {
        assert_eq!(deny.decide(&subject), Access::Deny);
    }
}

//! Checks of `--geoip-database`: files that cannot be read, and fields that policies compare but no file
//! contains.
//!
//! `check` and `status` run this check. `run` does not, because its data plane reads the files. If a field is
//! missing, the metrics and admin endpoints of the data plane show the policy as not enforceable.

use towergate_k8s::{Diagnostic, FindingCode, Objects, ResolveOptions};
use towergate_policy::geoip::{GeoDatabase, GeoFields};

/// Reports databases that cannot be read, and policies that compare a field that no database contains. If
/// there is no database, these policies are invalid, which is reported elsewhere.
pub(crate) fn find(objects: &Objects, scope: &ResolveOptions) -> Vec<Diagnostic> {
    const CODE: FindingCode = FindingCode::GeoDatabaseUnusable;
    if scope.geoip_databases.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut fields = GeoFields::default();
    for path in &scope.geoip_databases {
        match GeoDatabase::open(path) {
            Ok(database) => fields = fields | database.fields(),
            Err(error) => {
                let message = format!("--geoip-database {}: {error}", path.display());
                let help = "pass a MaxMind DB file that this program can read";
                found.push(Diagnostic::error(CODE, message, help));
            }
        }
    }
    for policy in objects.security_policies.values() {
        let Some(authorization) = &policy.spec.authorization else {
            continue;
        };
        for (field, needed) in authorization.location_fields() {
            let missing = needed.without(fields);
            if missing.is_empty() {
                continue;
            }
            let message = format!(
                "no GeoIP database has {missing}, which the rule compares: the routes of the policy return 500"
            );
            let help = "name a database that has these fields with --geoip-database";
            let error = Diagnostic::error(CODE, message, help);
            found.push(error.at("SecurityPolicy", policy, field));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use towergate_k8s::FindingCode;

    use crate::args::ManifestArgs;
    use crate::manifest_loader::ManifestLoader;

    const POLICY: &str = "
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: by-place, namespace: d}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  authorization:
    defaultAction: Deny
    rules:
    - {action: Allow, principal: {clientCIDRs: [192.0.2.0/24]}}
    - {action: Allow, principal: {clientIPGeoLocations: [{country: GB}, {asn: 64500}]}}
";

    /// The findings for [`POLICY`]. `run`: whether the manifests are read as by `towergate run`.
    fn messages(databases: &[PathBuf], run: bool) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.yaml"), POLICY).expect("the file is written");
        let loader = ManifestLoader::new(&ManifestArgs {
            paths: vec![folder.path().to_owned()],
            geoip_databases: databases.to_vec(),
            ..ManifestArgs::default()
        });
        let mut loader = match run {
            true => loader.without_statuses(),
            false => loader,
        };
        let reading = loader.read(true, |_| None).expect("a reading");
        let found = reading.diagnostics.iter();
        let found = found.filter(|d| d.code == FindingCode::GeoDatabaseUnusable);
        found.map(|d| d.message.clone()).collect()
    }

    #[test]
    fn a_database_that_cannot_be_read_is_named_with_the_policies_that_need_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("none.mmdb");
        let broken = folder.path().join("broken.mmdb");
        std::fs::write(&broken, "no database").expect("the file is written");

        let found = messages(&[missing.clone(), broken.clone()], false);

        assert_eq!(found.len(), 3, "{found:?}");
        for path in [missing, broken] {
            let named = format!("--geoip-database {}: ", path.display());
            assert!(
                found.iter().any(|text| text.starts_with(&named)),
                "{found:?}"
            );
        }
        let unmet = "no GeoIP database has country, asn, which the rule compares: \
                     the routes of the policy return 500";
        assert!(found.iter().any(|text| text == unmet), "{found:?}");
    }

    #[test]
    fn run_leaves_the_files_to_its_data_plane() {
        let none = PathBuf::from("/none.mmdb");

        assert_eq!(messages(&[none], true), [""; 0]);
        assert_eq!(messages(&[], false), [""; 0]);
    }
}

//! The ends that names of the zone lead to: to addresses, on to other names, into another zone, or nowhere.
//!
//! Comes in: the zone's tree, and the services that live in it. Goes out: what a name leads to, and the
//! circles that aliases run in. What is wrong with it is said by the check.

use std::collections::{HashMap, HashSet};

use super::rdata::first_name;
use super::text::ZoneRecord;
use super::tree::Tree;
use crate::control::diagnostic::Span;
use crate::model::{Name, RecordType};

/// Names looked at in search of one service's way back to itself.
const MAX_SEARCHED: usize = 1_000;

/// A service's name, defined elsewhere in the zone's TOML.
#[derive(Clone, Debug)]
pub struct ServiceOwner {
    /// Absolute.
    pub name: Name,
    pub span: Span,
    /// Host names it answers with, as CNAMEs, each with the place of its region; nothing may stand beside them.
    pub hosts: Vec<(Name, Span)>,
    /// True where it may also answer with addresses.
    pub has_addresses: bool,
    /// It answers HTTPS records too.
    pub https: bool,
}

impl ServiceOwner {
    pub fn answers_aliases(&self) -> bool {
        !self.hosts.is_empty()
    }
}

/// The end that a name in RDATA, or of an endpoint, leads to.
pub(super) enum Target<'r> {
    /// Outside the zone: nothing is known.
    Elsewhere,
    Addresses,
    /// Addresses of a service, which come and go.
    Service(&'r ServiceOwner),
    /// An alias (CNAME, DNAME or a service of host names), and where it is made one.
    Alias(&'r Span),
    /// Below this delegation, without glue.
    Delegated(&'r Name),
    /// No such name, or one without addresses.
    Nothing,
}

pub(super) struct Targets<'r> {
    origin: &'r Name,
    tree: &'r Tree<'r>,
    /// The first service of each name.
    services: HashMap<&'r Name, &'r ServiceOwner>,
    /// The services' names and all above them, up to the origin.
    names_of_services: HashSet<Name>,
    /// Names whose aliases are known to reach an end.
    ending: HashSet<Name>,
    /// Names whose aliases are known to reach none.
    endless: HashSet<Name>,
}

/// Names that an alias leads to next.
struct Next {
    names: Vec<Name>,
    /// True where it may also be an end: no alias, or a service that has addresses besides.
    may_end: bool,
}

impl<'r> Targets<'r> {
    pub fn new(origin: &'r Name, tree: &'r Tree<'r>, services: &'r [ServiceOwner]) -> Targets<'r> {
        Targets {
            origin,
            tree,
            services: services.iter().rev().map(|service| (&service.name, service)).collect(),
            names_of_services: services.iter().flat_map(|service| names_above(&service.name, origin)).collect(),
            ending: HashSet::new(),
            endless: HashSet::new(),
        }
    }

    /// The first service of this name.
    pub fn service(&self, name: &Name) -> Option<&'r ServiceOwner> {
        self.services.get(name).copied()
    }

    pub fn of(&self, name: &Name) -> Target<'r> {
        if !name.is_at_or_below(self.origin) {
            return Target::Elsewhere;
        }
        if let Some(service) = self.service_answering(name) {
            return if service.answers_aliases() { Target::Alias(&service.span) } else { Target::Service(service) };
        }
        let tree: &'r Tree<'r> = self.tree;
        if let Some(cover) = tree.cover(name) {
            return match cover.first(RecordType::DNAME) {
                Some(dname) if !tree.is_cut(&cover) => Target::Alias(&dname.span),
                _ if tree.find(name).is_some_and(|node| node.has_addresses()) => Target::Addresses,
                _ => Target::Delegated(cover.name),
            };
        }
        let Some(node) = tree.answering(name) else { return Target::Nothing };
        match node.first(RecordType::CNAME) {
            Some(alias) => Target::Alias(&alias.span),
            None if node.has_addresses() => Target::Addresses,
            None => Target::Nothing,
        }
    }

    /// Tells whether a name in the zone is answered by anything but NXDOMAIN.
    pub fn exists(&self, name: &Name) -> bool {
        self.tree.contains(name)
            || self.names_of_services.contains(name)
            || self.service_answering(name).is_some()
            || self.tree.cover(name).is_some()
            || self.tree.answering(name).is_some()
    }

    /// The circle in which aliases from `name` on run, whichever endpoints answer: names in their order,
    /// the last of which was there before. `None` where an end can be reached, or where the circle was
    /// told before.
    pub fn new_circle(&mut self, name: &Name) -> Option<Vec<Name>> {
        if self.endless.contains(name) || self.can_end(name) {
            return None;
        }
        let mut chain = vec![name.clone()];
        while let Some(next) = chain.last().and_then(|last| self.next(last).names.into_iter().next()) {
            let seen = chain.contains(&next);
            chain.push(next);
            if seen || chain.len() > MAX_SEARCHED {
                break;
            }
        }
        Some(chain)
    }

    /// Tells whether the name is known to lead into a circle.
    pub fn is_endless(&self, name: &Name) -> bool {
        self.endless.contains(name)
    }

    /// Tells whether some way from `host` on leads back to the service.
    pub fn leads_back(&self, host: &Name, service: &ServiceOwner) -> bool {
        let mut found = vec![host.clone()];
        let mut at = 0;
        while let Some(name) = found.get(at).cloned() {
            if self.service_answering(&name).is_some_and(|answering| answering.name == service.name) {
                return true;
            }
            at += 1;
            for next in self.next(&name).names {
                if found.len() < MAX_SEARCHED && !found.contains(&next) {
                    found.push(next);
                }
            }
        }
        false
    }

    /// Follows all ways from `start` on, and keeps what that shows of the names on them.
    fn can_end(&mut self, start: &Name) -> bool {
        // Each name with the one that led to it.
        let mut seen: HashMap<Name, Option<Name>> = HashMap::from([(start.clone(), None)]);
        let mut open = vec![start.clone()];
        while let Some(name) = open.pop() {
            if self.endless.contains(&name) {
                continue;
            }
            let next = if self.ending.contains(&name) { None } else { Some(self.next(&name)) };
            if next.as_ref().is_none_or(|next| next.may_end) {
                let mut on_the_way = Some(name);
                while let Some(name) = on_the_way {
                    on_the_way = seen.get(&name).cloned().flatten();
                    self.ending.insert(name);
                }
                return true;
            }
            for next in next.into_iter().flat_map(|next| next.names) {
                if !seen.contains_key(&next) {
                    seen.insert(next.clone(), Some(name.clone()));
                    open.push(next);
                }
            }
        }
        self.endless.extend(seen.into_keys());
        false
    }

    fn next(&self, name: &Name) -> Next {
        let end = Next { names: Vec::new(), may_end: true };
        if !name.is_at_or_below(self.origin) {
            return end;
        }
        if let Some(service) = self.service_answering(name) {
            let names: Vec<Name> = service.hosts.iter().map(|(host, _)| host.clone()).collect();
            return Next { may_end: names.is_empty() || service.has_addresses, names };
        }
        let target = match self.tree.cover(name) {
            Some(cover) if self.tree.is_cut(&cover) => None,
            Some(cover) => cover.first(RecordType::DNAME).and_then(|dname| redirected(name, dname)),
            None => {
                let alias = self.tree.answering(name).and_then(|node| node.first(RecordType::CNAME));
                alias.and_then(|alias| first_name(RecordType::CNAME, &alias.record.rdata))
            }
        };
        target.map_or(end, |target| Next { names: vec![target], may_end: false })
    }

    /// The service that answers for a name in the zone: at it, or at the wildcard of its closest
    /// encloser (RFC 4592 section 3.3.1).
    fn service_answering(&self, name: &Name) -> Option<&'r ServiceOwner> {
        if self.services.is_empty() {
            return None;
        }
        let exists = |name: &Name| self.tree.contains(name) || self.names_of_services.contains(name);
        if exists(name) {
            return self.services.get(name).copied();
        }
        let encloser = std::iter::successors(name.parent(), Name::parent).find(exists)?;
        let wildcard = Name::parse("*", &encloser).ok()?;
        self.services.get(&wildcard).copied()
    }
}

/// The name that a DNAME record makes of one below it (RFC 6672 section 2.2); `None` where that is too long.
fn redirected(name: &Name, dname: &ZoneRecord) -> Option<Name> {
    let target = first_name(RecordType::DNAME, &dname.record.rdata)?;
    let above = name.label_count().checked_sub(dname.record.owner.label_count())?;
    let labels: Vec<&[u8]> = name.labels().take(above).collect();
    labels.into_iter().rev().try_fold(target, |name, label| name.prepend(label).ok())
}

/// A name and those above it that are in the zone; none for a name outside.
fn names_above(name: &Name, origin: &Name) -> impl Iterator<Item = Name> {
    std::iter::successors(Some(name.clone()), Name::parent).take_while(|name| name.is_at_or_below(origin))
}

// Package repotest tests the repository itself, and holds nothing else. Its tests compare what stands in several places: documents and
// code (snippets compile, links lead somewhere, named tests exist, exported functions have an example, CONTRIBUTING's diagram shows each
// file), the direction of imports, and an event type's entries.
package repotest

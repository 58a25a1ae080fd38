package swu

import (
	"cmp"
	"strings"
)

// CompareVersions orders two version strings as SWUpdate does
// (sw-description.rst, "Versioning schemas in SWUpdate") and returns -1, 0 or
// +1. The first of these orders that fits both strings decides:
//
//  1. Digits and dots only: up to four numbers, missing ones are zero, so
//     "1.2" equals "1.2.0.0". SWUpdate keeps 16 bits of each number and drops
//     a fifth; here numbers are of any length and all count, which orders every
//     pair that SWUpdate's documentation allows alike and does not let
//     20260101 wrap round to something old.
//  2. Semantic versions, "1.2.3-rc.1+build": a pre-release is older than its
//     release, the build part does not count. Minor and patch may be left out.
//  3. Anything else: byte by byte.
func CompareVersions(a, b string) int {
	if isNumbers(a) && isNumbers(b) {
		return compareNumbers(a, b)
	}
	coreA, preA, okA := splitSemver(a)
	coreB, preB, okB := splitSemver(b)
	if okA && okB {
		if c := compareNumbers(coreA, coreB); c != 0 {
			return c
		}
		return comparePrerelease(preA, preB)
	}
	return strings.Compare(a, b)
}

func isNumbers(s string) bool {
	return s != "" && strings.Trim(s, "0123456789.") == ""
}

func compareNumbers(a, b string) int {
	for a != "" || b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		if c := compareNumber(x, y); c != 0 {
			return c
		}
	}
	return 0
}

// compareNumber compares decimal digits of any length; "" is zero.
func compareNumber(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

// splitSemver splits "1.2.3-rc.1+build" into "1.2.3" and "rc.1".
func splitSemver(s string) (core, pre string, ok bool) {
	s, build, hasBuild := strings.Cut(s, "+")
	core, pre, hasPre := strings.Cut(s, "-")
	parts := strings.Split(core, ".")
	ok = len(parts) <= 3
	for _, p := range parts {
		ok = ok && p != "" && isDigits(p)
	}
	ok = ok && (!hasPre || isIdentifiers(pre)) && (!hasBuild || isIdentifiers(build))
	return core, pre, ok
}

func isIdentifiers(s string) bool {
	for _, id := range strings.Split(s, ".") {
		if id == "" {
			return false
		}
		for _, c := range []byte(id) {
			if !isLetter(c) && !isDigit(c) && c != '-' {
				return false
			}
		}
	}
	return true
}

// comparePrerelease follows semver.org, rule 11: none is newest, numbers are
// older than words, a longer list is newer than its prefix.
func comparePrerelease(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "":
		return 1
	case b == "":
		return -1
	}
	for a != "" && b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		if c := compareIdentifier(x, y); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func compareIdentifier(a, b string) int {
	numA, numB := isDigits(a), isDigits(b)
	switch {
	case numA && numB:
		return compareNumber(a, b)
	case numA:
		return -1
	case numB:
		return 1
	}
	return strings.Compare(a, b)
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }
func isDigit(c byte) bool    { return '0' <= c && c <= '9' }
func isLetter(c byte) bool   { return 'a' <= c|0x20 && c|0x20 <= 'z' }

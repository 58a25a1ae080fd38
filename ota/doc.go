// Package ota holds the values of an update and the pure logic over them: what
// an offer is, which phases an update goes through, what follows from what
// ([Next]), and how a fault is classed.
//
// It has no clock, no disk and no network: callers pass facts in and perform
// the acts that come out. Everything that is persisted (phases, codes) is a
// string that is only ever added to, never renamed.
package ota

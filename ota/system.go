package ota

import "slices"

// Keep returns b knowing that s is good, in place of what its slot held.
func (b Box) Keep(s System) Box {
	b = b.Drop(s.Slot)
	b.Systems = append(b.Systems, s)
	return b
}

// Drop returns b without the system in slot: it is about to be written over.
func (b Box) Drop(slot string) Box {
	b.Systems = slices.DeleteFunc(slices.Clone(b.Systems), func(s System) bool { return s.Slot == slot })
	return b
}

// System returns what is known of the content of slot.
func (b Box) System(slot string) (System, bool) {
	i := slices.IndexFunc(b.Systems, func(s System) bool { return s.Slot == slot })
	if i < 0 {
		return System{}, false
	}
	return b.Systems[i], true
}

// Before returns the system to go back to from the one in the slot active: the
// latest one in another slot.
func (b Box) Before(active string) (System, bool) {
	for _, s := range slices.Backward(b.Systems) {
		if s.Slot != active {
			return s, true
		}
	}
	return System{}, false
}

// Confirmed returns b after r ended well in the system running. What ran
// before stays known as good where it is; a system that was left by a way back
// is remembered as bad.
func (b Box) Confirmed(r Record, running Version) Box {
	if _, known := b.System(r.FromSlot); !known && r.FromSlot != "" {
		b = b.Keep(System{Slot: r.FromSlot, Version: r.From, Proven: true})
	}
	if r.ToSlot == "" { // it was no system
		return b.Forget(r.Offer.Key())
	}
	came := System{Slot: r.ToSlot, Version: running, Image: r.Image, BootID: r.BootID}
	if !r.Back {
		if r.By != byBoard { // else somebody else brought it
			came.Key = r.Offer.Key()
		}
		return b.Forget(came.Key).Keep(came)
	}
	if back, known := b.System(r.ToSlot); known {
		came = back
		came.Proven, came.Boots, came.BootID = false, 0, r.BootID
	}
	if left, known := b.System(r.FromSlot); known && left.Key != "" {
		b = b.Remember(BadOffer{Key: left.Key, Code: CodeRejected, Text: "a person went back from it"})
	}
	return b.Keep(came)
}

// Started counts a boot of the confirmed system in slot, while it is on
// probation. loops says that it was started more than MaxBoots times without
// running undisturbed once, and that there is a system to go back to.
func (b Box) Started(slot, bootID string) (next Box, loops bool) {
	s, known := b.System(slot)
	if !known || s.Proven {
		return b, false
	}
	if s.BootID != bootID {
		s.BootID = bootID
		s.Boots++
		b = b.replace(s)
	}
	_, before := b.Before(slot)
	return b, s.Boots > MaxBoots && before
}

// Proved ends the probation of the system in slot.
func (b Box) Proved(slot string) Box {
	s, known := b.System(slot)
	if !known || s.Proven {
		return b
	}
	s.Proven, s.Boots, s.BootID = true, 0, ""
	return b.replace(s)
}

// replace puts s in the place of what is known of its slot.
func (b Box) replace(s System) Box {
	b.Systems = slices.Clone(b.Systems)
	for i := range b.Systems {
		if b.Systems[i].Slot == s.Slot {
			b.Systems[i] = s
		}
	}
	return b
}

package bundle

import (
	"math"
	"reflect"
	"strconv"
	"strings"
)

// decode fills the Spec of the bundle with everything that is present.
func (c *checker) decode() {
	c.decodeStruct(0, reflect.ValueOf(c.bundle.Spec).Elem())
}

// decodeStruct sets the fields of v from the members of n. It goes by the
// fields, so that members which the spec does not know cost nothing.
func (c *checker) decodeStruct(n int, v reflect.Value) {
	for i, t := 0, v.Type(); i < t.NumField(); i++ {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && f.Anonymous {
			c.decodeStruct(n, v.Field(i))
			continue
		}
		if m := c.member(n, name); m >= 0 {
			c.nodes[n].flags |= known
			c.decodeValue(m, v.Field(i))
		}
	}
}

// decodeValue sets v from node n. If n is not of a fitting type that is
// recorded, and v keeps its zero value.
func (c *checker) decodeValue(n int, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		c.decodeValue(n, v.Elem())
	case reflect.Struct:
		if c.expect(n, object, "an object") {
			c.decodeStruct(n, v)
		}
	case reflect.Map:
		if c.expect(n, object, "an object") {
			c.decodeMap(n, v)
		}
	case reflect.Slice:
		if c.expect(n, array, "an array") {
			c.decodeSlice(n, v)
		}
	case reflect.String:
		if c.expect(n, text, "a string") {
			v.SetString(c.text(n))
		}
	case reflect.Bool:
		if c.expect(n, boolean, "true or false") {
			v.SetBool(c.raw(n)[0] == 't')
		}
	case reflect.Interface:
		v.Set(reflect.ValueOf(c.any(n)))
	default:
		c.decodeInteger(n, v)
	}
}

// expect tells whether n is of kind k, and records it if it is not.
func (c *checker) expect(n int, k kind, want string) bool {
	if c.nodes[n].kind == k {
		return true
	}
	c.wrong(n, want)
	return false
}

// decodeInteger sets v, whose type has a size and may be unsigned. An integer
// is one in its text: not 1.0, not 1e3.
func (c *checker) decodeInteger(n int, v reflect.Value) {
	digits := ""
	if c.nodes[n].kind == number {
		digits = string(c.raw(n))
	}
	var lowest, highest string
	switch bits := v.Type().Bits(); {
	case v.CanInt():
		i, err := strconv.ParseInt(digits, 10, bits)
		if err == nil {
			v.SetInt(i)
			return
		}
		lowest, highest = strconv.FormatInt(math.MinInt64>>(64-bits), 10), strconv.FormatInt(math.MaxInt64>>(64-bits), 10)
	default:
		u, err := strconv.ParseUint(digits, 10, bits)
		if err == nil {
			v.SetUint(u)
			return
		}
		lowest, highest = "0", strconv.FormatUint(math.MaxUint64>>(64-bits), 10)
	}
	c.wrong(n, "an integer from "+lowest+" to "+highest)
}

func (c *checker) decodeSlice(n int, v reflect.Value) {
	length := 0
	for range c.elements(n) {
		length++
	}
	v.Set(reflect.MakeSlice(v.Type(), length, length))
	for i, e := range c.elements(n) {
		c.decodeValue(e, v.Index(i))
	}
}

func (c *checker) decodeMap(n int, v reflect.Value) {
	c.nodes[n].flags |= keyed
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range c.entries(n) {
		c.nodes[n].flags |= known
		value := reflect.New(v.Type().Elem()).Elem()
		c.decodeValue(e.value, value)
		v.SetMapIndex(reflect.ValueOf(e.name), value)
	}
}

// any returns what encoding/json makes of n without a type, for the one
// property of the spec that has none: windows.credentialSpec.
func (c *checker) any(n int) any {
	switch c.nodes[n].kind {
	case boolean:
		return c.raw(n)[0] == 't'
	case number:
		f, _ := strconv.ParseFloat(string(c.raw(n)), 64) // Inf if out of range
		return f
	case text:
		return c.text(n)
	case array:
		list := []any{}
		for _, e := range c.elements(n) {
			list = append(list, c.any(e))
		}
		return list
	case object:
		m := map[string]any{}
		for key, value := range c.members(n) {
			m[c.text(key)] = c.any(value)
		}
		return m
	}
	return nil
}

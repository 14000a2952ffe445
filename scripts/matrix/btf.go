package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
)

// findTypes takes the types out of an image of a kernel.
func findTypes(ctx context.Context, q *qemu, image []byte) ([]byte, error) {
	if payload, err := payloadOf(image); err != nil {
		return nil, err
	} else if payload != nil {
		if image, err = decompress(ctx, q, payload); err != nil {
			return nil, err
		}
	}
	return cutTypes(image)
}

// payloadOf is the compressed kernel in an image for x86 (Documentation/arch/x86/boot.rst), without the size at its
// end. It is nil for other images: those of arm64 are the kernel itself.
func payloadOf(image []byte) ([]byte, error) {
	const sectors, magic, payloadOffset, payloadLength, header = 0x1f1, 0x202, 0x248, 0x24c, 0x250
	if len(image) < header || string(image[magic:magic+4]) != "HdrS" {
		return nil, nil
	}
	begin := (int64(image[sectors])+1)*512 + int64(binary.LittleEndian.Uint32(image[payloadOffset:]))
	end := begin + int64(binary.LittleEndian.Uint32(image[payloadLength:])) - 4
	if begin > end || end > int64(len(image)) {
		return nil, errors.New("the image is cut off")
	}
	return image[begin:end], nil
}

// decompressors are the programs for the formats that the distribution has used, by what a file in them begins with.
var decompressors = map[string]string{
	"\x28\xb5\x2f\xfd": "zstd",
	"\x02\x21\x4c\x18": "lz4",
}

func decompress(ctx context.Context, q *qemu, payload []byte) ([]byte, error) {
	tool := decompressors[string(payload[:min(4, len(payload))])]
	if tool == "" {
		return nil, errors.New("the kernel is compressed in an unknown way")
	}
	cmd := q.tool(ctx, tool, "-dc")
	cmd.Stdin = bytes.NewReader(payload)
	return output(cmd)
}

// cutTypes finds the BTF in a kernel, where it lies as it is, by its header (struct btf_header in
// include/uapi/linux/btf.h): types at its end, and then names, the first of which is empty.
func cutTypes(kernel []byte) ([]byte, error) {
	magic := []byte{0x9f, 0xeb, 1, 0}
	for at := 0; ; at += len(magic) {
		next := bytes.Index(kernel[at:], magic)
		if next < 0 {
			return nil, errors.New("the kernel has no BTF")
		}
		at += next
		if types := typesAt(kernel[at:]); types != nil {
			return types, nil
		}
	}
}

func typesAt(data []byte) []byte {
	const fixed = 24 // the size of the header
	if len(data) < fixed {
		return nil
	}
	field := func(at int) int64 { return int64(binary.LittleEndian.Uint32(data[at:])) }
	header, typesBegin, typesLength, namesBegin, namesLength := field(4), field(8), field(12), field(16), field(20)
	names, end := header+namesBegin, header+namesBegin+namesLength
	if header < fixed || typesBegin != 0 || namesBegin < typesLength || namesLength == 0 || end > int64(len(data)) {
		return nil
	}
	if data[names] != 0 || data[end-1] != 0 {
		return nil
	}
	return data[:end]
}

package fasthttpidem

import (
	"bytes"
	"io"
	"maps"
	"mime/multipart"
	"slices"
)

// parts is the body of a form in parts. fasthttp takes such a body apart as it comes, and keeps the parts; what it would put together
// again is in another order every time, and so would tell a retry from its request. Here they have one order.
type parts struct {
	form     *multipart.Form
	boundary string
	text     *bytes.Reader // nil until somebody reads
	err      error
}

func (p *parts) Read(b []byte) (int, error) {
	if p.text == nil && p.err == nil {
		var text bytes.Buffer
		p.err = p.write(&text)
		p.text = bytes.NewReader(text.Bytes())
	}
	if p.err != nil {
		return 0, p.err
	}
	return p.text.Read(b)
}

func (p *parts) write(text io.Writer) error {
	to := multipart.NewWriter(text)
	if err := to.SetBoundary(p.boundary); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(p.form.Value)) {
		for _, value := range p.form.Value[name] {
			if err := to.WriteField(name, value); err != nil {
				return err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.form.File)) {
		for _, file := range p.form.File[name] {
			if err := writeFile(to, file); err != nil {
				return err
			}
		}
	}
	return to.Close()
}

func writeFile(to *multipart.Writer, file *multipart.FileHeader) error {
	part, err := to.CreatePart(file.Header)
	if err != nil {
		return err
	}
	from, err := file.Open()
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	_, err = io.Copy(part, from)
	return err
}

func (p *parts) Close() error { return nil }

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"

	"github.com/onlyonce/onlyonce/integration/history"
	"github.com/onlyonce/onlyonce/integration/torture/protocol"
)

// charge is a card payment: reserved here, charged there, settled here, noticed there, and booked with the answer.
func (s *service) charge(w http.ResponseWriter, r *http.Request, asked order) {
	ctx := r.Context()
	_, err := idempotency.Atomic(ctx, history.Reserve, func(ctx context.Context) (int, error) {
		return 0, s.step(ctx, history.Reserve, asked, "")
	})
	if err != nil {
		s.fail(w, err)
		return
	}
	charged, err := idempotency.Foreign(ctx, history.Charged, func(ctx context.Context, key string) (string, error) {
		return s.ask(ctx, history.Charged, key, asked)
	})
	if err != nil {
		answer(w, http.StatusBadGateway, map[string]string{"code": "provider-failed"})
		return
	}
	_, err = idempotency.Atomic(ctx, history.Settle, func(ctx context.Context) (int, error) {
		return 0, s.step(ctx, history.Settle, asked, charged)
	})
	if err != nil {
		s.fail(w, err)
		return
	}
	_, err = idempotency.Foreign(ctx, history.Noticed, func(ctx context.Context, key string) (string, error) {
		return s.ask(ctx, history.Noticed, key, asked)
	})
	if err != nil {
		answer(w, http.StatusBadGateway, map[string]string{"code": "provider-failed"})
		return
	}
	id, err := book(ctx, pgstore.Tx(ctx), asked)
	if err != nil {
		s.fail(w, err)
		return
	}
	paid := asked.receipt()
	paid.Payment, paid.Charge = id, charged
	w.Header().Set("Location", fmt.Sprintf("/payments/%s", asked.Reference))
	answer(w, http.StatusCreated, paid)
}

func (s *service) step(ctx context.Context, step string, asked order, charge string) error {
	_, err := pgstore.Tx(ctx).Exec(ctx, "INSERT INTO steps (step, key, attempt, amount, charge) VALUES ($1, $2, $3, $4, $5)",
		step, asked.Reference, asked.attempt, asked.Amount, charge)
	return err
}

// provider has no connection of yesterday's that could break under a charge.
var provider = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}

// ask has the provider charge the card, or take notice.
func (s *service) ask(ctx context.Context, step, downstream string, asked order) (string, error) {
	body, err := json.Marshal(protocol.Charge{Reference: asked.Reference, Amount: asked.Amount})
	if err != nil {
		return "", err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.provider+"/"+step, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	r.Header.Set(protocol.KeyHeader, downstream)
	response, err := provider.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the provider answered %d", response.StatusCode)
	}
	var charged protocol.Charge
	if err := json.NewDecoder(response.Body).Decode(&charged); err != nil {
		return "", err
	}
	if charged.ID == "" || charged.Amount != asked.Amount {
		return "", errors.New("the provider charged something else")
	}
	return charged.ID, nil
}

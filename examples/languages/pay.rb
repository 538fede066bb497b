# Makes payments with Ruby's pg, each once for its key:
#
#     ruby pay.rb "$DATABASE_URL" alice 10 8e03978e 9f1b2c44
#
# and prints the key, the response's status and its body. Run again, it prints the same, and pays nothing.
require "pg"

PATIENCE = 30 # seconds for which a key that is in progress is asked for again

InProgress = Class.new(StandardError)

# Bytes go to the server as they are.
def bytes(value) = { value: value, type: 17, format: 1 }

# Status and body of the response to the payment of this key, be it made now or before.
def pay(conn, account, key, amount)
  answer = nil
  conn.transaction do # what is raised in here rolls all of it back
    fingerprint = conn.exec_params("SELECT idempotency_fingerprint('POST', '/payments', '', 'application/json', $1)",
                                   [bytes(%({"amount": #{amount}}))], 1).getvalue(0, 0)
    begun = conn.exec_params("SELECT outcome, status, convert_from(body, 'UTF8') AS body FROM idempotency_begin($1, $2, $3)",
                             [account, key, bytes(fingerprint)]).first
    case begun["outcome"]
    when "replay"
      answer = [begun["status"].to_i, begun["body"]]
    when "execute"
      payment = conn.exec_params("INSERT INTO payments (account, amount) VALUES ($1, $2) RETURNING id", [account, amount]).getvalue(0, 0)
      answer = [201, %({"payment": #{payment}})]
      conn.exec_params("SELECT idempotency_complete($1, $2, $3, $4, $5, $6)",
                       [account, key, bytes(fingerprint), answer[0], bytes("Content-Type: application/json\r\n"), bytes(answer[1])])
    when "in_progress"
      raise InProgress, "somebody else works on the key: ask again"
    else
      raise "another request has used this key"
    end
  end
  answer # only now: until the commit it may still be undone
end

# pay, and again where that says nothing about the payment yet.
def pay_once(conn, account, key, amount)
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + PATIENCE
  begin
    pay(conn, account, key, amount)
  rescue InProgress, PG::UniqueViolation, PG::TRSerializationFailure, PG::TRDeadlockDetected
    raise if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
    sleep 0.005
    retry
  end
end

url, account, amount, *keys = ARGV
conn = PG.connect(url)
keys.each do |key|
  status, body = pay_once(conn, account, key, amount.to_i)
  puts "#{key} #{status} #{body}"
end

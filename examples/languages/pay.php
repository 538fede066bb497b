<?php
// Makes payments with PHP's pgsql extension, each once for its key:
//
//     php pay.php "$DATABASE_URL" alice 10 8e03978e 9f1b2c44
//
// and prints the key, the response's status and its body. Run again, it prints the same, and pays nothing.

declare(strict_types=1);

const PATIENCE = 30; // seconds for which a key that is in progress is asked for again

final class InProgress extends RuntimeException {}

/** A statement that failed, with its SQLSTATE. */
final class Failed extends RuntimeException
{
    public function __construct(public readonly string $state, string $message)
    {
        parent::__construct($message);
    }
}

function query(PgSql\Connection $conn, string $sql, array $params = []): array
{
    if (!pg_send_query_params($conn, $sql, $params)) {
        throw new RuntimeException(pg_last_error($conn));
    }
    $result = pg_get_result($conn);
    while (pg_get_result($conn)) { // or the connection stays busy
    }
    if ($result === false) {
        throw new RuntimeException('the connection was lost');
    }
    $state = pg_result_error_field($result, PGSQL_DIAG_SQLSTATE);
    if ($state) {
        throw new Failed($state, pg_result_error_field($result, PGSQL_DIAG_MESSAGE_PRIMARY));
    }
    return pg_fetch_all($result);
}

/** Status and body of the response to the payment of this key, be it made now or before. */
function pay(PgSql\Connection $conn, string $account, string $key, int $amount): array
{
    $request = '\x' . bin2hex('{"amount": ' . $amount . '}'); // bytes go to the server in hexadecimal
    query($conn, 'BEGIN');
    try {
        $fingerprint = query($conn, "SELECT idempotency_fingerprint('POST', '/payments', '', 'application/json', $1) AS print", [$request])[0]['print'];
        $begun = query($conn, 'SELECT outcome, status, body FROM idempotency_begin($1, $2, $3)', [$account, $key, $fingerprint])[0];
        switch ($begun['outcome']) {
            case 'replay':
                $answer = [(int) $begun['status'], pg_unescape_bytea($begun['body'])];
                break;
            case 'execute':
                $payment = query($conn, 'INSERT INTO payments (account, amount) VALUES ($1, $2) RETURNING id', [$account, $amount])[0]['id'];
                $answer = [201, '{"payment": ' . $payment . '}'];
                query($conn, 'SELECT idempotency_complete($1, $2, $3, $4, $5, $6)',
                    [$account, $key, $fingerprint, $answer[0], '\x' . bin2hex("Content-Type: application/json\r\n"), '\x' . bin2hex($answer[1])]);
                break;
            case 'in_progress':
                throw new InProgress('somebody else works on the key: ask again');
            default:
                throw new RuntimeException('another request has used this key');
        }
        query($conn, 'COMMIT');
    } catch (Throwable $failed) {
        pg_query($conn, 'ROLLBACK');
        throw $failed;
    }
    return $answer; // only now: until the commit it may still be undone
}

/** pay, and again where that says nothing about the payment yet. */
function payOnce(PgSql\Connection $conn, string $account, string $key, int $amount): array
{
    for ($deadline = microtime(true) + PATIENCE; ; usleep(5000)) {
        try {
            return pay($conn, $account, $key, $amount);
        } catch (InProgress $again) {
        } catch (Failed $again) {
            if (!in_array($again->state, ['23505', '40001', '40P01'], true)) {
                throw $again;
            }
        }
        if (microtime(true) > $deadline) {
            throw $again;
        }
    }
}

[, $url, $account, $amount] = $argv;
$conn = pg_connect($url);
foreach (array_slice($argv, 4) as $key) {
    [$status, $body] = payOnce($conn, $account, $key, (int) $amount);
    echo "$key $status $body\n";
}

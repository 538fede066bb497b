package torture

// vanish is done by clients: see client.vanish.
var vanish = fault{name: "vanish", about: "a client goes away before it is answered, and comes back at once, or never", possible: always}

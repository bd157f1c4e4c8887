// Signing in by a link: the token stands in the fragment, which is never sent. It is taken out of
// the address bar and the history first, then exchanged for a cookie that no script can read.
"use strict";

const trouble = document.getElementById("trouble");

async function signIn() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return false;
  const page = location.pathname + location.search;
  history.replaceState(null, "", page);
  try {
    const answer = await fetch("/session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
    if (answer.ok) {
      location.replace(page);
      return true;
    }
    const problem = await answer.json();
    trouble.textContent = problem.detail || "This link is not accepted.";
  } catch {
    trouble.textContent = "The service was not reached. Open the link again in a moment.";
  }
  trouble.hidden = false;
  return true;
}

addEventListener("hashchange", signIn);
signIn().then((tried) => {
  // Where a link of another site led here the browser kept the cookie back. Asking again from this
  // page brings it along, and tells at once whether there is a session.
  if (!tried && "crossed" in document.body.dataset) location.replace(location.href);
});

// One key presses the button or follows the link that names it in data-keys; once a page, and not while it is held down.
let sent = false;
document.addEventListener("keydown", (event) => {
  if (sent || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  const key = event.key.toLowerCase();
  const wanted = [...document.querySelectorAll("[data-keys]")].find((one) => one.dataset.keys.split(" ").includes(key));
  if (!wanted) return;
  event.preventDefault();
  sent = true;
  wanted.click();
});
// A page that the browser kept and shows again takes keys again.
window.addEventListener("pageshow", () => { sent = false; });

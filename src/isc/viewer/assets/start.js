/* Last: every part is there, so the page can begin. */
byId("title").textContent = data.title;
byId("subtitle").textContent = data.subtitle;
setTheme(THEMES.includes(kept.get("theme")) ? kept.get("theme") : "auto");
setScaffold(true);
root.dataset.whitespace = "off";
root.dataset.colour = "role";
addEventListener("hashchange", route);
route();

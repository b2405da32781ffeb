//! The texts.

messages! {
    product: "pushkeys", "pushkeys";
    skip: "Skip to content", "Aller au contenu";
    navigation: "Your account", "Votre compte";
    profile: "Profile", "Profil";
    ssh_keys: "SSH keys", "Clés SSH";
    sign_in: "Sign in", "Se connecter";
    sign_out: "Sign out", "Se déconnecter";
    error: "Error", "Erreur";
    back_to_keys: "Back to your SSH keys", "Revenir à vos clés SSH";
    copy: "Copy", "Copier";
    copied: "Copied", "Copié";
    cancel: "Cancel", "Annuler";

    account: "Account", "Compte";
    password: "Password", "Mot de passe";
    sign_in_lead: "Sign in to manage the SSH keys that you push with.",
        "Connectez-vous pour gérer les clés SSH avec lesquelles vous poussez votre code.";
    sign_in_wrong: "Account and password do not match. Check both and try again.",
        "Le compte et le mot de passe ne correspondent pas. Vérifiez les deux et réessayez.";
    sign_in_too_often: "Too many attempts. Try again in {seconds} seconds.",
        "Trop de tentatives. Réessayez dans {seconds} secondes.";
    sign_in_busy: "Many people are signing in right now. Try again in a moment.",
        "De nombreuses personnes se connectent en ce moment. Réessayez dans un instant.";
    signed_out: "You are signed out.", "Vous êtes déconnecté.";
    session_over: "Your session has ended. Sign in again to continue.",
        "Votre session est terminée. Connectez-vous à nouveau pour continuer.";

    confirm_title: "Confirm your identity", "Confirmez votre identité";
    confirm_lead: "You signed in a while ago. Confirm your identity to continue; what you typed is kept.",
        "Votre connexion date d’un moment. Confirmez votre identité pour continuer ; votre saisie est conservée.";
    confirm_wrong: "This is not the password of your account.", "Ce n’est pas le mot de passe de votre compte.";
    confirm_button: "Continue", "Continuer";
    confirmed_title: "Your identity is confirmed", "Votre identité est confirmée";
    confirmed_lead: "Nothing has been done yet. Continue with what you typed before.",
        "Rien n’a encore été fait. Poursuivez avec ce que vous aviez saisi.";

    keys_lead: "A key on this page lets you push with Git. Each key belongs to one account only, so that the platform knows who pushed.",
        "Une clé de cette page vous permet de pousser avec Git. Chaque clé appartient à un seul compte : c’est ainsi que la plateforme sait qui a poussé.";
    your_keys: "Your keys", "Vos clés";
    no_keys: "You have no SSH key yet. Add one below.", "Vous n’avez pas encore de clé SSH. Ajoutez-en une ci-dessous.";
    changes_live: "All changes are live on {applied} of {hosts} push hosts.",
        "Toutes les modifications sont actives sur {applied} des {hosts} serveurs de push.";
    host_silent: "{host} has been silent for {minutes} min.",
        "{host} ne répond plus depuis {minutes} min.";
    revoked_on: "Revoked by the operator on {hosts}: this key is refused there.",
        "Révoquée par l’exploitant sur {hosts} : cette clé y est refusée.";
    verified: "Verified", "Vérifiée";
    verified_hint: "You have proved possession of the private key.",
        "Vous avez prouvé que vous détenez la clé privée.";
    expired: "Expired", "Expirée";
    bits: "{bits} bits", "{bits} bits";
    fingerprint: "Fingerprint", "Empreinte";
    show_md5: "Show MD5 fingerprint", "Afficher l’empreinte MD5";
    added: "Added", "Ajoutée";
    last_used: "Last used", "Dernière utilisation";
    never_used: "never", "jamais";
    used_at: "{time} on {host}", "{time} sur {host}";
    expires: "Expires", "Expire";
    never_expires: "never", "jamais";
    verify: "Verify", "Vérifier";
    verify_key: "Verify the key {name}", "Vérifier la clé {name}";
    delete: "Delete…", "Supprimer…";
    delete_key: "Delete the key {name}", "Supprimer la clé {name}";
    delete_question: "Delete the key “{name}”? Push hosts will refuse it within seconds.",
        "Supprimer la clé « {name} » ? Les serveurs la refuseront en quelques secondes.";
    delete_compromised: "The private key may be compromised: no one may register this key again.",
        "La clé privée est peut-être compromise : personne ne doit pouvoir enregistrer à nouveau cette clé.";
    delete_confirm: "Delete key", "Supprimer la clé";

    add_key: "Add a key", "Ajouter une clé";
    key_name: "Name", "Nom";
    key_name_hint: "A name that you will recognize, such as the computer the key is on.",
        "Un nom que vous reconnaîtrez, par exemple l’ordinateur où se trouve la clé.";
    public_key: "Public key", "Clé publique";
    public_key_hint: "The single line of your `.pub` file, such as `~/.ssh/id_ed25519.pub`. Never paste the file without `.pub`.",
        "L’unique ligne de votre fichier `.pub`, par exemple `~/.ssh/id_ed25519.pub`. Ne collez jamais le fichier sans `.pub`.";
    drop_hint: "You can also drop the file here.", "Vous pouvez aussi déposer le fichier ici.";
    drop_private: "This file looks like a private key, so it was not read. Choose the `.pub` file.",
        "Ce fichier ressemble à une clé privée, il n’a donc pas été lu. Choisissez le fichier `.pub`.";
    expiry: "Expires on (optional)", "Expire le (facultatif)";
    expiry_hint: "The key stops working at the end of this day, UTC.", "La clé cesse de fonctionner à la fin de ce jour, UTC.";
    add_button: "Add key", "Ajouter la clé";
    done_added: "The key was added. Push hosts accept it within seconds.",
        "La clé a été ajoutée. Les serveurs l’acceptent en quelques secondes.";
    done_deleted: "The key was deleted. Push hosts refuse it within seconds.",
        "La clé a été supprimée. Les serveurs la refusent en quelques secondes.";
    done_proved: "You have proved that the key is yours.", "Vous avez prouvé que la clé est à vous.";
    done_dismissed: "The warning was dismissed.", "L’avertissement a été écarté.";
    done_key_gone: "This key no longer exists.", "Cette clé n’existe plus.";

    warnings: "Warnings", "Avertissements";
    warning_contested: "Another account tried to add your key “{name}”. It is still yours, and nothing has changed: a key belongs to one account only. If the other account is yours too, use another key there.",
        "Un autre compte a tenté d’ajouter votre clé « {name} ». Elle est toujours à vous et rien n’a changé : une clé appartient à un seul compte. Si l’autre compte est aussi le vôtre, utilisez-y une autre clé.";
    warning_refused: "You tried to add the key “{name}”, which another account uses. A key belongs to one account only: prove that it is yours, or use another key.",
        "Vous avez tenté d’ajouter la clé « {name} », qu’un autre compte utilise. Une clé appartient à un seul compte : prouvez qu’elle est à vous, ou utilisez une autre clé.";
    warning_taken_over: "The key “{name}” moved to another account, which proved that it holds the private key. If that was not you, make a new key and delete the old one from your computers.",
        "La clé « {name} » est passée à un autre compte, qui a prouvé qu’il détient la clé privée. Si ce n’était pas vous, créez une nouvelle clé et supprimez l’ancienne de vos ordinateurs.";
    dismiss: "Dismiss", "Écarter";
    prove_button: "Prove that it is yours", "Prouver qu’elle est à vous";

    proof_title: "Prove that you hold the key", "Prouver que vous détenez la clé";
    proof_lead: "Sign the text below with the private key. If the signature is valid, the key becomes yours immediately, even if another account has it.",
        "Signez le texte ci-dessous avec la clé privée. Si la signature est valide, la clé devient immédiatement la vôtre, même si un autre compte la possède.";
    proof_step_run: "Run this command on the computer that has the private key. On Windows, use Git Bash.",
        "Exécutez cette commande sur l’ordinateur qui détient la clé privée. Sous Windows, utilisez Git Bash.";
    proof_step_file: "If the key is in another file, write its name in place of `~/.ssh/{file}`.",
        "Si la clé se trouve dans un autre fichier, écrivez son nom à la place de `~/.ssh/{file}`.";
    proof_step_paste: "Paste everything that it prints.", "Collez tout ce qu’elle affiche.";
    signature: "Signature", "Signature";
    proof_button: "Prove", "Prouver";
    proof_until: "This challenge is valid until {time}.", "Ce défi est valable jusqu’à {time}.";
    proof_not_a_signature: "This is not the signature that the command prints. Paste all of it, from `-----BEGIN SSH SIGNATURE-----` on.",
        "Ce n’est pas la signature que la commande affiche. Collez-la en entier, à partir de `-----BEGIN SSH SIGNATURE-----`.";
    proof_wrong: "This signature does not match the challenge below. Run the command again and paste what it prints.",
        "Cette signature ne correspond pas au défi ci-dessous. Exécutez à nouveau la commande et collez ce qu’elle affiche.";
    proof_not_touched: "The security key signed without being touched, which proves nothing. Use a key that was created without `no-touch-required`, run the command again and touch the key when it blinks.",
        "La clé de sécurité a signé sans être touchée, ce qui ne prouve rien. Utilisez une clé créée sans `no-touch-required`, exécutez à nouveau la commande et touchez la clé quand elle clignote.";
    proof_none: "The challenge for this key has expired. Request a new one.",
        "Le défi pour cette clé a expiré. Demandez-en un nouveau.";

    check_title: "Check your setup", "Vérifier votre configuration";
    check_lead: "Run this in a terminal.", "Exécutez ceci dans un terminal.";
    check_first_time: "The first time, compare the host’s fingerprint and answer `yes`.",
        "La première fois, comparez l’empreinte du serveur et répondez `yes`.";
    check_host_keys: "The first time, `ssh` asks whether {host} is the right host. Answer `yes` if its fingerprint is one of these:",
        "La première fois, `ssh` demande si {host} est le bon serveur. Répondez `yes` si son empreinte est l’une de celles-ci :";
    check_known_hosts: "Or run this beforehand, and `ssh` does not ask:",
        "Ou exécutez d’abord ceci, et `ssh` ne demandera rien :";
    check_good: "If you are greeted with the name of your account, everything works.",
        "Si vous êtes accueilli par le nom de votre compte, tout fonctionne.";
    check_bad: "If you see `Permission denied (publickey).`, the key is not in the list above, has expired, or your computer did not offer it: `{command}` shows which keys it offers.",
        "Si vous voyez `Permission denied (publickey).`, la clé n’est pas dans la liste ci-dessus, a expiré, ou votre ordinateur ne l’a pas proposée : `{command}` montre celles qu’il propose.";

    check_last: "Last successful check: {time} from host {host}, with the key “{name}”.",
        "Dernière vérification réussie : {time} depuis le serveur {host}, avec la clé « {name} ».";
    check_never: "There has been no successful check yet.", "Aucune vérification réussie pour l’instant.";
    help_title: "Find or create a key", "Trouver ou créer une clé";
    help_linux: "Linux", "Linux";
    help_macos: "macOS", "macOS";
    help_windows: "Windows", "Windows";
    help_find: "Check whether you already have one:", "Vérifiez si vous en avez déjà une :";
    help_find_then: "If a file ends in `.pub`, show it and copy its line into the form above:",
        "Si un fichier se termine par `.pub`, affichez-le et copiez sa ligne dans le formulaire ci-dessus :";
    help_create: "If there is none, create one. Give it a passphrase when asked:",
        "Sinon, créez-en une. Donnez-lui une phrase secrète quand elle est demandée :";
    help_linux_open: "Open a terminal.", "Ouvrez un terminal.";
    help_macos_open: "Open the Terminal application. To type the passphrase only once, add the key to the keychain with `ssh-add --apple-use-keychain`.",
        "Ouvrez l’application Terminal. Pour ne saisir la phrase secrète qu’une fois, ajoutez la clé au trousseau avec `ssh-add --apple-use-keychain`.";
    help_windows_open: "Open PowerShell; Windows 10 and 11 come with OpenSSH. In Git Bash, use the commands for Linux.",
        "Ouvrez PowerShell ; Windows 10 et 11 sont livrés avec OpenSSH. Dans Git Bash, utilisez les commandes pour Linux.";
    help_private: "The file without `.pub` is the private key. It never leaves your computer: no one needs it, not even this page.",
        "Le fichier sans `.pub` est la clé privée. Elle ne quitte jamais votre ordinateur : personne n’en a besoin, cette page non plus.";
    help_types: "Ed25519 is the best choice. Security keys (`ed25519-sk`, `ecdsa-sk`), ECDSA and RSA from 2048 bits work too.",
        "Ed25519 est le meilleur choix. Les clés de sécurité (`ed25519-sk`, `ecdsa-sk`), ECDSA et RSA à partir de 2048 bits fonctionnent aussi.";

    account_id: "Account id", "Identifiant du compte";
    email: "E-mail", "Adresse e-mail";
    no_email: "none", "aucune";
    sessions: "Where you are signed in", "Où vous êtes connecté";
    session_current: "This browser", "Ce navigateur";
    session_from: "from {address}", "depuis {address}";
    session_seen: "Last active {time}", "Dernière activité {time}";
    session_end: "End", "Terminer";
    session_end_label: "End the session of {time}", "Terminer la session du {time}";
    sessions_end_others: "End all other sessions", "Terminer toutes les autres sessions";
    done_session_ended: "The session was ended.", "La session a été terminée.";
    change_password: "Change password", "Changer de mot de passe";
    change_password_lead: "Every other session ends when the password changes.",
        "Toutes les autres sessions se terminent quand le mot de passe change.";
    current_password: "Current password", "Mot de passe actuel";
    new_password: "New password", "Nouveau mot de passe";
    new_password_hint: "At least {min} characters. A few random words are easier to type than symbols.",
        "Au moins {min} caractères. Quelques mots au hasard se saisissent plus facilement que des symboles.";
    password_short: "The new password is too short. Use at least {min} characters.",
        "Le nouveau mot de passe est trop court. Utilisez au moins {min} caractères.";
    password_long: "The new password is too long. Use at most {max} bytes.",
        "Le nouveau mot de passe est trop long. Utilisez au plus {max} octets.";
    done_password: "The password was changed, and your other sessions have ended.",
        "Le mot de passe a été changé, et vos autres sessions sont terminées.";
    tokens: "Programs with access to your account", "Programmes ayant accès à votre compte";
    tokens_lead: "Tokens of the command line and of API clients. Revoke any that you do not recognize.",
        "Jetons de la ligne de commande et des clients de l’API. Révoquez ceux que vous ne reconnaissez pas.";
    token_added: "Added", "Ajouté";
    no_tokens: "None.", "Aucun.";
    token_unnamed: "without a label", "sans libellé";
    token_expires: "expires {time}", "expire {time}";
    revoke: "Revoke", "Révoquer";
    revoke_label: "Revoke the token {name}", "Révoquer le jeton {name}";
    done_token_revoked: "The token was revoked.", "Le jeton a été révoqué.";
    activity: "Activity", "Activité";
    activity_lead: "All changes to your keys, tokens and sessions, newest first. Kept for {days} days.",
        "Tous les changements de vos clés, jetons et sessions, du plus récent au plus ancien. Conservés {days} jours.";
    activity_empty: "No activity yet.", "Aucune activité pour l’instant.";
    activity_repeats: "And {count} more of this kind within an hour.",
        "Et {count} de plus du même type en une heure.";
    activity_when: "When (UTC)", "Quand (UTC)";
    activity_what: "What", "Quoi";
    activity_by: "By", "Par";
    activity_from: "From", "Depuis";
    older: "Older", "Plus ancien";
    by_console: "this console", "cette console";
    by_token: "token {name}", "jeton {name}";
    by_operator: "the operator", "l’exploitant";
    by_service: "the service", "le service";
    event_key_added: "Key “{name}” added", "Clé « {name} » ajoutée";
    event_keys_imported: "Keys imported: {name}", "Clés importées : {name}";
    event_key_changed: "Key “{name}” changed", "Clé « {name} » modifiée";
    event_key_removed: "Key “{name}” deleted", "Clé « {name} » supprimée";
    event_key_reported: "Key “{name}” deleted as compromised", "Clé « {name} » supprimée car compromise";
    event_key_proved: "Possession of the key “{name}” proved", "Possession de la clé « {name} » prouvée";
    event_key_contested: "Key “{name}” refused: it belongs to another account",
        "Clé « {name} » refusée : elle appartient à un autre compte";
    event_key_taken_over: "Key “{name}” moved to the account that proved possession",
        "Clé « {name} » passée au compte qui en a prouvé la possession";
    event_signed_in: "Signed in", "Connexion";
    event_signed_out: "Signed out", "Déconnexion";
    event_session_ended: "Session ended", "Session terminée";
    event_password_changed: "Password changed", "Mot de passe changé";
    event_token_added: "Token “{name}” added", "Jeton « {name} » ajouté";
    event_token_revoked: "Token “{name}” revoked", "Jeton « {name} » révoqué";
    event_link_added: "“{name}” linked", "« {name} » associé";
    event_link_removed: "“{name}” unlinked", "« {name} » dissocié";

    cli_title: "Let the command line act for you?", "Autoriser la ligne de commande à agir pour vous ?";
    cli_lead: "`clever login` (version {version}) asks to act as the account “{account}”. It will be able to see, add and delete your keys for {days} days, or until you revoke it on your profile.",
        "`clever login` (version {version}) demande à agir au nom du compte « {account} ». Il pourra voir, ajouter et supprimer vos clés pendant {days} jours, ou jusqu’à ce que vous le révoquiez dans votre profil.";
    cli_caution: "Approve only if you ran `clever login` yourself, just now, on your own computer. If someone sent you this link, do not approve: they would get access to your account.",
        "N’approuvez que si vous venez de lancer `clever login` vous-même, sur votre propre ordinateur. Si quelqu’un vous a envoyé ce lien, n’approuvez pas : cette personne aurait accès à votre compte.";
    cli_approve: "Approve", "Approuver";
    cli_refuse: "Do not approve", "Ne pas approuver";
    cli_done_title: "Approved", "Approuvé";
    cli_done: "Go back to your terminal: it continues by itself within seconds. You can close this page.",
        "Revenez à votre terminal : il continue de lui-même en quelques secondes. Vous pouvez fermer cette page.";
    not_found_title: "Page not found", "Page introuvable";
    not_found: "The address may be mistyped, or the page has moved.", "L’adresse est peut-être mal saisie, ou la page a changé de place.";

    cli_invalid: "This is not a link from `clever login`. Run `clever login` again.",
        "Ce lien ne vient pas de `clever login`. Relancez `clever login`.";
    cli_label: "clever login", "clever login";

    redirecting: "Redirecting to {name}", "Redirection vers {name}";
    redirect_link: "Continue", "Continuer";
    external_no_attempt: "No attempt was started in this browser within the last ten minutes. Start again.",
        "Aucune tentative n’a été commencée dans ce navigateur au cours des dix dernières minutes. Recommencez.";
    external_refused: "{name} refused: {reason}. Start again if this is not what you wanted.",
        "{name} a refusé : {reason}. Recommencez si ce n’est pas ce que vous vouliez.";
    external_unavailable: "{name} does not respond correctly at the moment. Try again in a minute.",
        "{name} ne répond pas correctement pour l’instant. Réessayez dans une minute.";
    external_refused_setup: "{name} refused: {reason}. This service is not set up correctly there: tell its operator.",
        "{name} a refusé : {reason}. Ce service n’y est pas configuré correctement : prévenez son exploitant.";
    external_broken: "The response of {name} cannot be used, and trying again will not help: tell the operator of this service. Its log has the reason.",
        "La réponse de {name} est inutilisable, et réessayer n’y changera rien : prévenez l’exploitant de ce service. Son journal en donne la raison.";
    linked: "Linked accounts", "Comptes associés";
    linked_as: "linked to {name}", "associé à {name}";
    not_linked: "not linked", "non associé";
    link_button: "Link", "Associer";
    link_label: "Link {name}", "Associer {name}";
    unlink_button: "Unlink", "Dissocier";
    unlink_label: "Unlink {name}", "Dissocier {name}";
    done_linked: "The account is linked.", "Le compte est associé.";
    done_unlinked: "The account is no longer linked. Keys that you imported stay until you delete them.",
        "Le compte n’est plus associé. Les clés que vous avez importées restent jusqu’à ce que vous les supprimiez.";
    done_imported: "The keys were added. Push hosts accept them within seconds.",
        "Les clés ont été ajoutées. Les serveurs les acceptent en quelques secondes.";

    github_lead: "Link your GitHub account to see its SSH keys here and add each with one click. We ask GitHub only for the list of your public keys.",
        "Associez votre compte GitHub pour voir ici ses clés SSH et ajouter chacune en un clic. Nous ne demandons à GitHub que la liste de vos clés publiques.";
    github_link: "Link your GitHub account", "Associer votre compte GitHub";
    github_keys: "Keys of {name} on GitHub that you do not have here:",
        "Clés de {name} sur GitHub que vous n’avez pas ici :";
    github_all_here: "All usable keys of {name} on GitHub are already here.",
        "Toutes les clés utilisables de {name} sur GitHub sont déjà ici.";
    github_add: "Add", "Ajouter";
    github_add_label: "Add the key {name}", "Ajouter la clé {name}";
    github_all: "Add all…", "Tout ajouter…";
    github_refused: "These keys cannot be added:", "Ces clés ne peuvent pas être ajoutées :";
    github_gone: "You imported these keys from GitHub, which no longer lists them. If you no longer use them, delete them here too.",
        "Vous avez importé ces clés depuis GitHub, qui ne les liste plus. Si vous ne les utilisez plus, supprimez-les aussi ici.";
    github_preview: "Add keys from GitHub", "Ajouter des clés depuis GitHub";
    github_preview_lead: "These keys will be added under these names. None of your keys is replaced.",
        "Ces clés seront ajoutées sous ces noms. Aucune de vos clés n’est remplacée.";
    github_preview_none: "There is nothing to add.", "Il n’y a rien à ajouter.";
    github_preview_button: "Add these keys", "Ajouter ces clés";
    github_partly: "{count} keys were added; those below were not.",
        "{count} clés ont été ajoutées ; celles ci-dessous ne l’ont pas été.";
    github_link_again: "GitHub no longer accepts the link. Link your account again.",
        "GitHub n’accepte plus l’association. Associez à nouveau votre compte.";
    github_wait: "GitHub limits the rate of requests. Try again in {seconds} seconds.",
        "GitHub limite le nombre de requêtes. Réessayez dans {seconds} secondes.";
    github_too_many: "GitHub lists more keys than can be imported. Copy the ones that you use.",
        "GitHub liste plus de clés qu’il n’est possible d’importer. Copiez celles que vous utilisez.";
    github_scope: "GitHub did not grant the permission to read your public keys. Link again and grant it.",
        "GitHub n’a pas accordé la permission de lire vos clés publiques. Recommencez et accordez-la.";

    oidc_sign_in: "Sign in with {name}", "Se connecter avec {name}";
    or_password: "Or with your password", "Ou avec votre mot de passe";
    oidc_unknown: "No account here is linked to your {name} account. Sign in with your password and link it on your profile.",
        "Aucun compte ici n’est associé à votre compte {name}. Connectez-vous avec votre mot de passe et associez-le dans votre profil.";
    oidc_no_name: "{name} does not provide a name for your account. Contact the operator of this service.",
        "{name} n’indique pas de nom pour votre compte. Contactez l’exploitant du service.";
    oidc_name_taken: "An account with your name already exists. If it is yours, sign in with its password and link {name} on your profile.",
        "Un compte à votre nom existe déjà. S’il est à vous, connectez-vous avec son mot de passe et associez {name} dans votre profil.";
    oidc_of_another: "Your {name} account is linked to another account here. Unlink it there first.",
        "Votre compte {name} est associé à un autre compte ici. Dissociez-le d’abord de cet autre compte.";
    oidc_only_way: "{name} is the only way to sign in to this account. Ask the operator of this service to set a password first.",
        "{name} est le seul moyen de se connecter à ce compte. Demandez d’abord à l’exploitant du service de définir un mot de passe.";
    oidc_not_verified: "The sign-in at {name} could not be verified. Start again; if it happens again, tell the operator of this service.",
        "La connexion chez {name} n’a pas pu être vérifiée. Recommencez ; si cela se reproduit, prévenez l’exploitant du service.";

    oidc_other_user: "The user who signed in at {name} is not the one linked to this account. Start again with the right one.",
        "La personne connectée chez {name} n’est pas celle associée à ce compte. Recommencez avec la bonne.";
    oidc_not_confirmed: "{name} did not ask you to sign in again, or does not say when you did, so your identity is not confirmed. Sign out there and start again; if it happens again, tell the operator of this service.",
        "{name} ne vous a pas demandé de vous reconnecter, ou n’indique pas quand vous l’avez fait : votre identité n’est pas confirmée. Déconnectez-vous là-bas et recommencez ; si cela se reproduit, prévenez l’exploitant du service.";

    failed_title: "Something went wrong", "Une erreur est survenue";
    csrf: "The page was out of date, or the request did not come from this site. Nothing was changed. Go back, reload the page and try again.",
        "La page n’était plus à jour, ou la demande ne venait pas de ce site. Rien n’a été modifié. Revenez en arrière, rechargez la page et réessayez.";
    too_large: "What you sent is longer than any public key, so nothing was stored. Paste the one line of your `.pub` file.",
        "Votre envoi est plus long que n’importe quelle clé publique, rien n’a donc été enregistré. Collez l’unique ligne de votre fichier `.pub`.";
    unavailable: "The service is not available at the moment. Check whether your change was made, and try again in a minute.",
        "Le service n’est pas disponible pour l’instant. Vérifiez si votre modification a été faite, et réessayez dans une minute.";
    too_many_requests: "Too many requests from your address. Try again in {seconds} seconds.",
        "Trop de requêtes depuis votre adresse. Réessayez dans {seconds} secondes.";
    not_set_up: "The console is not set up for this address. The operator of the service must set `base_url` in `[console]` of the configuration.",
        "La console n’est pas configurée pour cette adresse. L’exploitant du service doit définir `base_url` dans `[console]` de la configuration.";

    proof_impossible: "This service cannot verify signatures of ssh-mldsa44-ed25519 or of RSA keys above 8192 bits yet, so such a key cannot be proved. Use a key of another type.",
        "Ce service ne sait pas encore vérifier les signatures de ssh-mldsa44-ed25519 ni celles des clés RSA de plus de 8192 bits, donc une telle clé ne peut pas être prouvée. Utilisez une clé d’un autre type.";
    name_empty: "The name is empty. Choose one for this key.", "Le nom est vide. Choisissez-en un pour cette clé.";
    name_long: "The name is {bytes} bytes long, and at most {max} are accepted. Choose a shorter one.",
        "Le nom fait {bytes} octets, et au plus {max} sont acceptés. Choisissez-en un plus court.";
    name_character: "The name contains the invisible or control character {character} (character {place} of it). Type the name again.",
        "Le nom contient le caractère invisible ou de contrôle {character} (en position {place}). Saisissez-le à nouveau.";
    name_unseen: "The name has nothing in it that can be seen: character {place} of it is {character}. Choose another one.",
        "Le nom ne contient rien de visible : son caractère {place} est {character}. Choisissez-en un autre.";
    name_path_step: "A key cannot be called `.` or `..`, nor have one of them between slashes. Choose another name.",
        "Une clé ne peut s’appeler ni `.` ni `..`, ni les contenir entre des barres obliques. Choisissez un autre nom.";
    name_taken: "You already have another key named “{name}”. Choose another name, or delete that key first.",
        "Vous avez déjà une autre clé nommée « {name} ». Choisissez un autre nom, ou supprimez d’abord cette clé.";
    expiry_format: "This is not a day such as `2027-01-31`. Choose one, or leave the field empty.",
        "Ce n’est pas un jour comme `2027-01-31`. Choisissez-en un, ou laissez le champ vide.";
    expiry_past: "This day is in the past. Choose a later one, or leave the field empty.",
        "Ce jour est passé. Choisissez un jour ultérieur, ou laissez le champ vide.";
    key_of_another: "This key is registered to another account, and a key belongs to one account only. Remove it there, prove that it is yours, or make a new key with `ssh-keygen -t ed25519`.",
        "Cette clé est enregistrée sur un autre compte, et une clé appartient à un seul compte. Retirez-la là-bas, prouvez qu’elle est à vous, ou créez une nouvelle clé avec `ssh-keygen -t ed25519`.";
    key_under_another_name: "You already have this key under the name “{name}”. Delete that one first to give it another name.",
        "Vous avez déjà cette clé sous le nom « {name} ». Supprimez-la d’abord pour lui donner un autre nom.";
    key_too_many: "You already have {max} keys, which is the most an account may have. Delete one that you no longer use.",
        "Vous avez déjà {max} clés, le maximum pour un compte. Supprimez-en une que vous n’utilisez plus.";
    key_compromised: "This key was reported as compromised and cannot be registered again. Make a new one with `ssh-keygen -t ed25519`.",
        "Cette clé a été signalée comme compromise et ne peut plus être enregistrée. Créez-en une nouvelle avec `ssh-keygen -t ed25519`.";
    key_shared_factor: "This RSA key shares a prime factor with another of your keys, so anybody can break both of them. Make new keys with `ssh-keygen -t ed25519`, and delete the other one.",
        "Cette clé RSA partage un facteur premier avec une autre de vos clés, donc n’importe qui peut casser les deux. Créez de nouvelles clés avec `ssh-keygen -t ed25519`, et supprimez l’autre.";
    account_gone: "This account no longer exists.", "Ce compte n’existe plus.";
}
